#include "trainer/model/transformer.h"

#include <algorithm>

#include <glog/logging.h>

#include "kernels/elementwise.h"
#include "kernels/memory_label.h"
#include "trainer/model/memory_remedies.h"

namespace trireme {

namespace {

// A looped weight is multiplied once in each loop, a table that is looked up never.
std::int64_t count_multiplied(const TransformerOptions& options, const ParameterBuffer& parameters) {
  std::int64_t multiplied = parameters.num_parameters();
  if (options.positions == Positions::kLearned) multiplied -= options.context * options.width;
  if (!options.tied_embeddings) multiplied -= options.vocabulary * options.width;
  for (const Parameter& parameter : parameters.parameters()) {
    if (is_looped(parameter)) multiplied += (options.loops - 1) * parameter.shape.num_elements();
  }
  return multiplied;
}

}  // namespace

Transformer::Transformer(const TransformerOptions& options, ParameterMemory memory, const ModelShare& share)
    : options_(options), stream_(share.stream), dtype_(share.dtype), ranks_(share.tensor, options.kv_heads) {
  for (int i = 0; i < share.num_chunks(); ++i) {
    chunks_.emplace_back(parameters_, options,
                         StackOptions{.layers = options.layers, .part = share.layers_of(i, options.layers)},
                         ranks_, stream_);
  }
  const Parameter* table = chunks_.front().token_table();
  if (chunks_.back().is_last()) {
    loss_.emplace(parameters_, options, table, ranks_);
    if (options.tied_embeddings) table = &loss_->table();
  }
  if (options.tied_embeddings) {
    tied_ =
        tie_across_stages(parameters_, table, share, {share.stage_of(0), share.stage_of(options.layers - 1)});
  }
  const MemoryLabel label("model", kFewerParameters);
  parameters_.allocate(memory, stream_.device(), dtype_);
  num_multiplied_ = share.is_whole() ? count_multiplied(options, parameters_)
                                     : Transformer(options, ParameterMemory::kNone).num_multiplied_;
}

void Transformer::allocate(PassLimits limits) {
  limits.dtype = dtype_;
  CHECK_LE(limits.sequence, options_.context);
  const auto plan = [&](Arena& arena) {
    ranks_.allocate(arena, limits.rows(), options_.width, dtype_);
    for (TransformerStack& chunk : chunks_)
      chunk.allocate(arena, limits, &chunk == &chunks_.front() ? nullptr : &chunks_.front());
    if (!loss_) return;
    loss_->allocate(arena, limits);
    if (limits.training)
      dhidden_NC_ = arena.allocate(dtype_, {ranks_.rows_per_rank(limits.rows()), options_.width});
  };
  const Device device = stream_.device();
  Arena measure = Arena::measuring(device);
  plan(measure);
  const MemoryLabel label("activations", kFewerActivations);
  arena_ = std::make_unique<Arena>(measure.size_bytes(), device);
  plan(*arena_);
  // Rows that pad parts to one size are exchanged, and never written.
  if (!ranks_.is_alone()) arena_->zero();
}

TransformerStack& Transformer::whole() {
  CHECK(num_chunks() == 1 && chunk(0).is_first() && chunk(0).is_last()) << "a part is not the model";
  return chunk(0);
}

std::int64_t Transformer::rows_in(int chunk, const TextTensors& text) const {
  return this->chunk(chunk).is_first() ? 0 : own_rows(text);
}

std::int64_t Transformer::rows_out(int chunk, const TextTensors& text) const {
  return this->chunk(chunk).is_last() ? 0 : own_rows(text);
}

void Transformer::forward(int chunk, const TextTensors& text, Tensor in_NC, Tensor out_NC, const Pass& pass) {
  TransformerStack& stack = this->chunk(chunk);
  stack.forward(stack.is_first() ? text.inputs_BT : in_NC, out_NC, pass);
}

void Transformer::add_loss(Tensor loss_1, const TextTensors& text, const Pass& pass) {
  TransformerStack& stack = chunks_.back();
  loss_->forward(loss_1, stack.output(pass), text.targets_BT.view({pass.rows()}), pass);
  stack.add_ponder_loss(loss_1, text.targets_BT, /*scale=*/0.0F, pass);
}

void Transformer::backward(int chunk, Tensor loss_1, const TextTensors& text, float scale, Tensor dout_NC,
                           Tensor din_NC, GradientReducer& reducer, const Pass& pass) {
  TransformerStack& stack = this->chunk(chunk);
  if (stack.is_last()) {
    dout_NC = ranks_.own_rows_of(dhidden_NC_, pass.rows());
    loss_->forward_backward(loss_1, dout_NC, stack.output(pass), text.targets_BT.view({pass.rows()}), scale,
                            reducer, pass);
    stack.add_ponder_loss(loss_1, text.targets_BT, scale, pass);
  }
  const Tensor din = stack.backward(dout_NC, text.inputs_BT, reducer, pass);
  if (!stack.is_first()) copy(din_NC, din, pass.stream);
}

void Transformer::backward_weights(int chunk, GradientReducer& reducer, const Pass& pass) {
  this->chunk(chunk).backward_weights(reducer, pass);
}

void Transformer::forward_loss(Tensor loss_1, Tensor tokens_BT, Tensor targets_BT, const Pass& pass) {
  const TextTensors text{.inputs_BT = tokens_BT, .targets_BT = targets_BT};
  whole().forward(tokens_BT, {}, pass);
  add_loss(loss_1, text, pass);
}

void Transformer::forward_backward(Tensor loss_1, Tensor tokens_BT, Tensor targets_BT, float scale,
                                   GradientReducer& reducer, const Pass& pass) {
  const TextTensors text{.inputs_BT = tokens_BT, .targets_BT = targets_BT};
  whole().forward(tokens_BT, {}, pass);
  backward(/*chunk=*/0, loss_1, text, scale, {}, {}, reducer, pass);
}

Tensor Transformer::next_token_logits(Tensor tokens_BT, const Pass& pass) {
  CHECK_EQ(pass.batch, 1);
  CHECK(pass.cache != nullptr);
  whole().forward(tokens_BT, {}, pass);
  pass.cache->length += pass.sequence;
  return loss_->logits(whole().output(pass).slice(0, pass.sequence - 1, pass.sequence), pass.stream);
}

double Transformer::flops_per_token(std::int64_t sequence) const {
  // Keys that a query sees, on average.
  const auto t = static_cast<double>(sequence);
  const double w = options_.window > 0 ? std::min(t, static_cast<double>(options_.window)) : t;
  const double keys = w * (1.0 - w / (2.0 * t));
  const auto attention =
      static_cast<double>(2 * options_.cached_layers() * options_.heads * options_.head_width) * keys;
  return 6.0 * (static_cast<double>(num_multiplied_) + attention);
}

KeyValueCacheMemory::KeyValueCacheMemory(const TransformerOptions& options, std::int64_t batch,
                                         Device device) {
  const Shape shape = {batch, options.context, options.kv_heads, options.head_width};
  const std::int64_t bytes = shape.num_elements() * size_bytes(DType::kFloat32);
  const MemoryLabel label("keys and values");
  buffer_ = Buffer(2 * options.cached_layers() * bytes, device);
  for (std::int64_t layer = 0; layer < options.cached_layers(); ++layer) {
    cache_.layers.push_back({.keys_BSKD = buffer_.tensor(DType::kFloat32, shape, 2 * layer * bytes),
                             .values_BSKD = buffer_.tensor(DType::kFloat32, shape, (2 * layer + 1) * bytes)});
  }
}

}  // namespace trireme
