#include "trainer/model/encoder_decoder.h"

#include <algorithm>

#include <glog/logging.h>

#include "kernels/elementwise.h"

namespace trireme {
namespace {

StackOptions encoder_stack(const TransformerOptions& options) {
  // Behind the decoder's blocks and their cross-attentions, and the number of its own embedding.
  return {.prefix = "encoder.",
          .layers = options.encoder_layers,
          .first_layer = 2 * options.layers + 1,
          .causal = false};
}

StackOptions decoder_stack(const TransformerOptions& options) {
  return {.prefix = "decoder.", .layers = options.layers, .cross_attention = true};
}

}  // namespace

void fill_padding_documents(Tensor documents_BS, Tensor lengths_B) {
  const std::int64_t sequence = documents_BS.dim(1);
  for (std::int64_t b = 0; b < documents_BS.dim(0); ++b) {
    const std::int64_t length = lengths_B.data<std::int32_t>()[b];
    CHECK(0 < length && length <= sequence) << "a source of " << length << " tokens in a row of " << sequence;
    std::int32_t* const row = documents_BS.data<std::int32_t>() + b * sequence;
    std::fill(row, row + length, 0);
    std::fill(row + length, row + sequence, 1);
  }
}

EncoderDecoder::EncoderDecoder(const TransformerOptions& options, ParameterMemory memory,
                               const ModelShare& share)
    : options_(options),
      ranks_(share.tensor, options.kv_heads),
      encoder_(parameters_, options, encoder_stack(options), ranks_),
      decoder_(parameters_, options, decoder_stack(options), ranks_,
               options.tied_source_embedding ? &encoder_.token_table() : nullptr),
      loss_(parameters_, options, decoder_.token_table(), ranks_) {
  parameters_.allocate(memory);
}

void EncoderDecoder::allocate(const Limits& limits) {
  const PassLimits source{.batch = limits.source_tokens,
                          .sequence = 1,
                          .training = limits.training,
                          .slots = limits.slots,
                          .recompute = limits.recompute};
  const PassLimits target{.batch = limits.target_tokens,
                          .sequence = 1,
                          .training = limits.training,
                          .memory_rows = limits.source_tokens,
                          .slots = limits.slots,
                          .recompute = limits.recompute};
  const auto plan = [&](Arena& arena) {
    source_documents_ = arena.allocate(DType::kInt32, {source.rows()});
    target_documents_ = arena.allocate(DType::kInt32, {target.rows()});
    if (options_.halting) counted_sources_ = arena.allocate(DType::kInt32, {source.rows()});
    ranks_.allocate(arena, std::max(source.rows(), target.rows()), options_.width);
    encoder_.allocate(arena, source);
    decoder_.allocate(arena, target);
    loss_.allocate(arena, target);
    if (!limits.training) return;
    dmemory_MC_ = arena.allocate(DType::kFloat32, {ranks_.rows_per_rank(source.rows()), options_.width});
    dhidden_NC_ = arena.allocate(DType::kFloat32, {ranks_.rows_per_rank(target.rows()), options_.width});
  };
  Arena measure = Arena::measuring();
  plan(measure);
  arena_ = std::make_unique<Arena>(measure.size_bytes());
  plan(*arena_);
  std::fill_n(target_documents_.data<std::int32_t>(), target.rows(), 0);
}

Pass EncoderDecoder::encoder_pass(Tensor sources_BS, Tensor source_lengths_B, const Pass& pass) {
  Pass result{.batch = sources_BS.dim(0),
              .sequence = sources_BS.dim(1),
              .dropout = pass.dropout,
              .ponder_cost = pass.ponder_cost,
              .attention_observer = pass.attention_observer,
              .stream = pass.stream};
  result.documents_BT = result.rows_of(source_documents_).view(sources_BS.shape());
  fill_padding_documents(result.documents_BT, source_lengths_B);
  return result;
}

Tensor EncoderDecoder::forward(const PairTensors& pairs, Pass& pass) {
  const Pass encoding = encoder_pass(pairs.sources_BS, pairs.source_lengths_B, pass);
  pass.batch = pairs.target_inputs_BT.dim(0);
  pass.sequence = pairs.target_inputs_BT.dim(1);
  memory_ = {.batch = encoding.batch,
             .sequence = encoding.sequence,
             .x_MC = encoder_.forward(pairs.sources_BS, encoding),
             .query_documents_BT = pass.rows_of(target_documents_).view(pairs.target_inputs_BT.shape()),
             .documents_BS = encoding.documents_BT};
  pass.memory = &memory_;
  return decoder_.forward(pairs.target_inputs_BT, pass);
}

void EncoderDecoder::add_ponder_loss(Tensor loss_1, const PairTensors& pairs, float scale,
                                     const Pass& decoding) {
  if (!options_.halting) return;
  const Pass encoding = encoder_pass(pairs.sources_BS, pairs.source_lengths_B, decoding);
  const Tensor counted = encoding.rows_of(counted_sources_);
  const std::int32_t* const documents = encoding.documents_BT.data<std::int32_t>();
  for (std::int64_t i = 0; i < encoding.rows(); ++i) counted.data<std::int32_t>()[i] = -documents[i];
  encoder_.add_ponder_loss(loss_1, counted, scale, encoding);
  decoder_.add_ponder_loss(loss_1, pairs.target_outputs_BT, scale, decoding);
}

void EncoderDecoder::forward_loss(Tensor loss_1, const PairTensors& pairs, const Pass& pass) {
  Pass decoding = pass;
  const Tensor hidden = forward(pairs, decoding);
  loss_.forward(loss_1, hidden, pairs.target_outputs_BT.view({decoding.rows()}), decoding);
  add_ponder_loss(loss_1, pairs, /*scale=*/0.0F, decoding);
}

void EncoderDecoder::forward_backward(Tensor loss_1, const PairTensors& pairs, float scale,
                                      GradientReducer& reducer, const Pass& pass) {
  Pass decoding = pass;
  const Tensor hidden = forward(pairs, decoding);
  const Tensor dhidden = ranks_.own_rows_of(dhidden_NC_, decoding.rows());
  loss_.forward_backward(loss_1, dhidden, hidden, pairs.target_outputs_BT.view({decoding.rows()}), scale,
                         reducer, decoding);
  add_ponder_loss(loss_1, pairs, scale, decoding);
  memory_.dx_MC = ranks_.own_rows_of(dmemory_MC_, memory_.batch * memory_.sequence);
  fill(memory_.dx_MC, 0.0F, pass.stream);
  decoder_.backward(dhidden, pairs.target_inputs_BT, reducer, decoding);
  encoder_.backward(memory_.dx_MC, pairs.sources_BS, reducer,
                    encoder_pass(pairs.sources_BS, pairs.source_lengths_B, pass));
}

void EncoderDecoder::encode(Tensor sources_BS, Tensor source_lengths_B, KeyValueCache& cache, Memory memory,
                            Stream stream) {
  const Pass encoding = encoder_pass(sources_BS, source_lengths_B, {.stream = stream});
  memory.x_MC = encoder_.forward(sources_BS, encoding);
  decoder_.project_memory({.cache = &cache, .memory = &memory, .stream = stream});
}

Tensor EncoderDecoder::decode(Tensor tokens_N, KeyValueCache& cache, const Memory& memory, Stream stream) {
  const std::int64_t rows = tokens_N.dim(0);
  const Tensor hidden =
      decoder_.forward(tokens_N.view({rows, 1}),
                       {.batch = rows, .sequence = 1, .cache = &cache, .memory = &memory, .stream = stream});
  ++cache.length;
  return hidden;
}

double EncoderDecoder::flops(std::int64_t pairs, std::int64_t source_tokens,
                             std::int64_t target_tokens) const {
  // Weights that are multiplied with each token of a source, and of a target.
  double source_weights = 0.0;
  auto target_weights = static_cast<double>(options_.vocabulary * options_.width);
  for (const Parameter& parameter : parameters_.parameters()) {
    const auto has = [&](const char* part) { return parameter.name.find(part) != std::string::npos; };
    if (!is_looped(parameter)) continue;
    const bool reads_source = parameter.name.starts_with("encoder.") || has("cross_attention.key_value");
    (reads_source ? source_weights : target_weights) +=
        static_cast<double>(options_.loops * parameter.part.whole.num_elements());
  }
  // Keys that a query sees, on average.
  const auto window = static_cast<double>(options_.window);
  const auto s = static_cast<double>(source_tokens), t = static_cast<double>(target_tokens);
  const double source_length = s / static_cast<double>(pairs);
  const double target_length = t / static_cast<double>(pairs);
  const double w = window > 0.0 ? std::min(target_length, window) : target_length;
  const double source_keys = window > 0.0 ? std::min(source_length, 2.0 * window) : source_length;
  const double target_keys = w * (1.0 - w / (2.0 * target_length));
  const auto width = static_cast<double>(2 * options_.loops * options_.heads * options_.head_width);
  return 6.0 * (s * (source_weights + width * static_cast<double>(options_.encoder_layers) * source_keys) +
                t * (target_weights +
                     width * static_cast<double>(options_.layers) * (source_length + target_keys)));
}

}  // namespace trireme
