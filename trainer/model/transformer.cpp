#include "trainer/model/transformer.h"

#include <algorithm>

#include <glog/logging.h>

namespace trireme {

Transformer::Transformer(const TransformerOptions& options, ParameterMemory memory, const ModelShare& share)
    : options_(options),
      ranks_(share.tensor, options.kv_heads),
      decoder_(parameters_, options, {.layers = options.layers}, ranks_),
      loss_(parameters_, options, decoder_.token_table(), ranks_) {
  parameters_.allocate(memory);
}

void Transformer::allocate(const PassLimits& limits) {
  CHECK_LE(limits.sequence, options_.context);
  const auto plan = [&](Arena& arena) {
    ranks_.allocate(arena, limits.rows(), options_.width);
    decoder_.allocate(arena, limits);
    loss_.allocate(arena, limits);
    if (limits.training)
      dhidden_NC_ = arena.allocate(DType::kFloat32, {ranks_.rows_per_rank(limits.rows()), options_.width});
  };
  Arena measure = Arena::measuring();
  plan(measure);
  arena_ = std::make_unique<Arena>(measure.size_bytes());
  plan(*arena_);
}

void Transformer::forward_loss(Tensor loss_1, Tensor tokens_BT, Tensor targets_BT, const Pass& pass) {
  const Tensor hidden = decoder_.forward(tokens_BT, pass);
  loss_.forward(loss_1, hidden, targets_BT.view({pass.rows()}), pass);
  decoder_.add_ponder_loss(loss_1, targets_BT, /*scale=*/0.0F, pass);
}

void Transformer::forward_backward(Tensor loss_1, Tensor tokens_BT, Tensor targets_BT, float scale,
                                   GradientReducer& reducer, const Pass& pass) {
  const Tensor hidden = decoder_.forward(tokens_BT, pass);
  const Tensor dhidden = ranks_.own_rows_of(dhidden_NC_, pass.rows());
  loss_.forward_backward(loss_1, dhidden, hidden, targets_BT.view({pass.rows()}), scale, reducer, pass);
  decoder_.add_ponder_loss(loss_1, targets_BT, scale, pass);
  decoder_.backward(dhidden, tokens_BT, reducer, pass);
}

Tensor Transformer::next_token_logits(Tensor tokens_BT, const Pass& pass) {
  CHECK_EQ(pass.batch, 1);
  CHECK(pass.cache != nullptr);
  const Tensor hidden = decoder_.forward(tokens_BT, pass);
  pass.cache->length += pass.sequence;
  return loss_.logits(hidden.slice(0, pass.sequence - 1, pass.sequence), pass.stream);
}

double Transformer::flops_per_token(std::int64_t sequence) const {
  std::int64_t multiplied = 0;
  if (options_.positions == Positions::kLearned) multiplied -= options_.context * options_.width;
  if (!options_.tied_embeddings) multiplied -= options_.vocabulary * options_.width;
  for (const Parameter& parameter : parameters_.parameters()) {
    multiplied += (is_looped(parameter) ? options_.loops : 1) * parameter.part.whole.num_elements();
  }
  // Keys that a query sees, on average.
  const auto t = static_cast<double>(sequence);
  const double w = options_.window > 0 ? std::min(t, static_cast<double>(options_.window)) : t;
  const double keys = w * (1.0 - w / (2.0 * t));
  const auto attention =
      static_cast<double>(2 * options_.cached_layers() * options_.heads * options_.head_width) * keys;
  return 6.0 * (static_cast<double>(multiplied) + attention);
}

KeyValueCacheMemory::KeyValueCacheMemory(const TransformerOptions& options, std::int64_t batch) {
  const Shape shape = {batch, options.context, options.kv_heads, options.head_width};
  const std::int64_t bytes = shape.num_elements() * size_bytes(DType::kFloat32);
  buffer_ = Buffer(2 * options.cached_layers() * bytes);
  for (std::int64_t layer = 0; layer < options.cached_layers(); ++layer) {
    cache_.layers.push_back({.keys_BSKD = buffer_.tensor(DType::kFloat32, shape, 2 * layer * bytes),
                             .values_BSKD = buffer_.tensor(DType::kFloat32, shape, (2 * layer + 1) * bytes)});
  }
}

}  // namespace trireme
