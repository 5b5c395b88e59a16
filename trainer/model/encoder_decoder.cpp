#include "trainer/model/encoder_decoder.h"

#include <algorithm>

#include <glog/logging.h>

#include "kernels/elementwise.h"
#include "kernels/memory_label.h"
#include "kernels/padding.h"
#include "trainer/model/memory_remedies.h"

namespace trireme {
namespace {

// Layers of a part that lie between begin and end, counted from there.
LayerRange layers_between(LayerRange part, std::int64_t begin, std::int64_t end) {
  const int first = static_cast<int>(begin), last = static_cast<int>(end);
  return {std::max(part.begin, first) - first, std::min(part.end, last) - first};
}

}  // namespace

EncoderDecoder::EncoderDecoder(const TransformerOptions& options, ParameterMemory memory,
                               const ModelShare& share)
    : options_(options), stream_(share.stream), dtype_(share.dtype), ranks_(share.tensor, options.kv_heads) {
  add_chunks(share);
  const MemoryLabel label("model", kFewerParameters);
  parameters_.allocate(memory, stream_.device(), dtype_);
  count_weights(share);
}

void EncoderDecoder::add_chunks(const ModelShare& share) {
  const std::int64_t sources = options_.encoder_layers, layers = sources + options_.layers;
  // The decoder's.  Of all that use it here, the first to be made completes its gradient.
  const Parameter* table = nullptr;
  const std::string table_prefix = options_.tied_source_embedding ? "encoder." : "decoder.";
  for (int i = 0; i < share.num_chunks(); ++i) {
    const LayerRange part = share.layers_of(i, layers);
    Chunk& chunk = chunks_.emplace_back();
    if (const LayerRange in_encoder = layers_between(part, 0, sources); in_encoder.size() > 0) {
      // Numbered behind the decoder's blocks and their cross-attentions, and its own embedding.
      chunk.encoder.emplace(parameters_, options_,
                            StackOptions{.prefix = "encoder.",
                                         .layers = sources,
                                         .part = in_encoder,
                                         .first_layer = 2 * options_.layers + 1,
                                         .causal = false},
                            ranks_, stream_);
      if (options_.tied_source_embedding && chunk.encoder->is_first()) table = chunk.encoder->token_table();
    }
    if (const LayerRange in_decoder = layers_between(part, sources, layers); in_decoder.size() > 0) {
      chunk.decoder.emplace(parameters_, options_,
                            StackOptions{.prefix = "decoder.",
                                         .table_prefix = table_prefix,
                                         .layers = options_.layers,
                                         .part = in_decoder,
                                         .cross_attention = true},
                            ranks_, stream_, table);
      if (chunk.decoder->is_first()) table = chunk.decoder->token_table();
      if (chunk.decoder->is_last()) loss_.emplace(parameters_, options_, table, ranks_, table_prefix);
    }
  }
  if (loss_ && options_.tied_embeddings) table = &loss_->table();
  std::set<int> stages;  // that have it
  if (options_.tied_source_embedding) stages = {share.stage_of(0), share.stage_of(sources)};
  if (options_.tied_embeddings) stages.insert({share.stage_of(sources), share.stage_of(layers - 1)});
  tied_ = tie_across_stages(parameters_, table, share, stages);
}

void EncoderDecoder::count_weights(const ModelShare& share) {
  if (!share.is_whole()) {
    const EncoderDecoder whole(options_, ParameterMemory::kNone);
    num_source_weights_ = whole.num_source_weights_;
    num_target_weights_ = whole.num_target_weights_;
    return;
  }
  num_target_weights_ = options_.vocabulary * options_.width;
  for (const Parameter& parameter : parameters_.parameters()) {
    const auto has = [&](const char* part) { return parameter.name.find(part) != std::string::npos; };
    if (!is_looped(parameter)) continue;
    const bool reads_source = parameter.name.starts_with("encoder.") || has("cross_attention.key_value");
    (reads_source ? num_source_weights_ : num_target_weights_) +=
        options_.loops * parameter.shape.num_elements();
  }
}

void EncoderDecoder::allocate(const Limits& limits) {
  const PassLimits source{.batch = limits.source_tokens,
                          .sequence = 1,
                          .training = limits.training,
                          .dtype = dtype_,
                          .slots = limits.slots,
                          .recompute = limits.recompute,
                          .deferred_weights = limits.deferred_weights};
  PassLimits target = source;
  target.batch = limits.target_tokens;
  target.memory_rows = limits.source_tokens;
  const auto plan = [&](Arena& arena) {
    const auto rows = [&](const PassLimits& of) {
      return arena.allocate(dtype_, {ranks_.rows_per_rank(of.rows()), options_.width});
    };
    ranks_.allocate(arena, std::max(source.rows(), target.rows()), options_.width, dtype_);
    source_documents_ = arena.allocate(DType::kInt32, {source.rows()});
    target_documents_ = arena.allocate(DType::kInt32, {target.rows()});
    if (options_.halting) counted_sources_ = arena.allocate(DType::kInt32, {source.rows()});
    const TransformerStack* encoder = nullptr;
    const TransformerStack* decoder = nullptr;
    for (Chunk& chunk : chunks_) {
      chunk.memories_MC.clear();
      if (chunk.encoder) {
        chunk.encoder->allocate(arena, source, encoder);
        encoder = &*chunk.encoder;
      }
      if (!chunk.decoder) continue;
      chunk.decoder->allocate(arena, target, decoder);
      decoder = &*chunk.decoder;
      for (std::size_t i = 0; i < limits.slots && !chunk.encoder; ++i)
        chunk.memories_MC.push_back(rows(source));
    }
    if (!loss_) return;
    loss_->allocate(arena, target);
    if (!limits.training) return;
    dmemory_MC_ = rows(source);
    dhidden_NC_ = rows(target);
  };
  const Device device = stream_.device();
  Arena measure = Arena::measuring(device);
  plan(measure);
  const MemoryLabel label("activations", kFewerActivations);
  arena_ = std::make_unique<Arena>(measure.size_bytes(), device);
  plan(*arena_);
  // Rows that pad parts to one size are exchanged, and never written.
  if (!ranks_.is_alone()) arena_->zero();
  fill(target_documents_, 0.0F, stream_);
}

EncoderDecoder::Passes::Passes(const EncoderDecoder& model, const PairTensors& pairs, const Pass& pass)
    : encoding(model.encoder_pass(pairs.sources_BS, pairs.source_lengths_B, pass)), decoding(pass) {
  decoding.batch = pairs.target_inputs_BT.dim(0);
  decoding.sequence = pairs.target_inputs_BT.dim(1);
  decoding.memory = &memory;
  memory = {
      .batch = encoding.batch,
      .sequence = encoding.sequence,
      .query_documents_BT = decoding.rows_of(model.target_documents_).view(pairs.target_inputs_BT.shape()),
      .documents_BS = encoding.documents_BT};
}

Pass EncoderDecoder::encoder_pass(Tensor sources_BS, Tensor source_lengths_B, const Pass& pass) const {
  Pass result{.batch = sources_BS.dim(0),
              .sequence = sources_BS.dim(1),
              .dropout = pass.dropout,
              .ponder_cost = pass.ponder_cost,
              .slot = pass.slot,
              .defers_weights = pass.defers_weights,
              .attention_observer = pass.attention_observer,
              .stream = pass.stream};
  result.documents_BT = result.rows_of(source_documents_).view(sources_BS.shape());
  mark_padding(result.documents_BT, source_lengths_B, /*padding=*/1, pass.stream);
  return result;
}

EncoderDecoder::Chunk& EncoderDecoder::whole() {
  Chunk& only = chunk(0);
  CHECK(only.encoder && only.decoder && only.encoder->is_first() && only.decoder->is_last())
      << "a part is not the model";
  return only;
}

Tensor EncoderDecoder::memory_of(const Chunk& chunk, const Pass& encoding) const {
  if (chunk.encoder) return chunk.encoder->output(encoding);
  return ranks_.own_rows_of(chunk.memories_MC[encoding.slot], encoding.rows());
}

std::int64_t EncoderDecoder::rows_in(int index, const PairTensors& pairs) const {
  const Chunk& chunk = this->chunk(index);
  if (chunk.encoder) return chunk.encoder->is_first() ? 0 : own_rows(pairs.sources_BS);
  const std::int64_t of_stream = chunk.decoder->is_first() ? 0 : own_rows(pairs.target_inputs_BT);
  return own_rows(pairs.sources_BS) + of_stream;
}

std::int64_t EncoderDecoder::rows_out(int index, const PairTensors& pairs) const {
  const Chunk& chunk = this->chunk(index);
  if (!chunk.decoder) return own_rows(pairs.sources_BS);
  if (chunk.decoder->is_last()) return 0;
  return own_rows(pairs.sources_BS) + own_rows(pairs.target_inputs_BT);
}

void EncoderDecoder::forward(int index, const PairTensors& pairs, Tensor in_XC, Tensor out_XC,
                             const Pass& pass) {
  Chunk& chunk = this->chunk(index);
  Passes passes(*this, pairs, pass);
  if (chunk.encoder) {
    chunk.encoder->forward(chunk.encoder->is_first() ? pairs.sources_BS : in_XC, out_XC, passes.encoding);
    if (chunk.encoder->is_last() && !chunk.decoder)
      copy(out_XC, chunk.encoder->output(passes.encoding), pass.stream);
  }
  if (!chunk.decoder) return;
  const std::int64_t sources = own_rows(pairs.sources_BS);
  const Tensor memory = memory_of(chunk, passes.encoding);
  if (!chunk.encoder) copy(memory, in_XC.slice(0, 0, sources), pass.stream);
  passes.memory.x_MC = memory;
  Tensor out;
  if (!chunk.decoder->is_last()) {
    copy(out_XC.slice(0, 0, sources), memory, pass.stream);
    out = out_XC.slice(0, sources, out_XC.dim(0));
  }
  chunk.decoder->forward(
      chunk.decoder->is_first() ? pairs.target_inputs_BT : in_XC.slice(0, sources, in_XC.dim(0)), out,
      passes.decoding);
}

void EncoderDecoder::add_loss(Tensor loss_1, const PairTensors& pairs, const Pass& pass) {
  const Passes passes(*this, pairs, pass);
  loss_->forward(loss_1, chunks_.back().decoder->output(passes.decoding),
                 pairs.target_outputs_BT.view({passes.decoding.rows()}), passes.decoding);
  add_ponder_loss(loss_1, pairs, /*scale=*/0.0F, passes);
}

void EncoderDecoder::add_ponder_loss(Tensor loss_1, const PairTensors& pairs, float scale,
                                     const Passes& passes) {
  if (!options_.halting) return;
  const Tensor counted = passes.encoding.rows_of(counted_sources_);
  mark_padding(counted.view(pairs.sources_BS.shape()), pairs.source_lengths_B, /*padding=*/-1,
               passes.encoding.stream);
  whole().encoder->add_ponder_loss(loss_1, counted, scale, passes.encoding);
  whole().decoder->add_ponder_loss(loss_1, pairs.target_outputs_BT, scale, passes.decoding);
}

void EncoderDecoder::backward(int index, Tensor loss_1, const PairTensors& pairs, float scale, Tensor dout_XC,
                              Tensor din_XC, GradientReducer& reducer, const Pass& pass) {
  Chunk& chunk = this->chunk(index);
  Passes passes(*this, pairs, pass);
  const Pass& encoding = passes.encoding;
  const Pass& decoding = passes.decoding;
  const std::int64_t sources = own_rows(pairs.sources_BS);
  Tensor dencoder = dout_XC;
  if (chunk.decoder) {
    Tensor dout;
    if (chunk.decoder->is_last()) {
      dout = ranks_.own_rows_of(dhidden_NC_, decoding.rows());
      loss_->forward_backward(loss_1, dout, chunk.decoder->output(decoding),
                              pairs.target_outputs_BT.view({decoding.rows()}), scale, reducer, decoding);
      add_ponder_loss(loss_1, pairs, scale, passes);
      dencoder = ranks_.own_rows_of(dmemory_MC_, encoding.rows());
      fill(dencoder, 0.0F, pass.stream);
    } else {
      dout = dout_XC.slice(0, sources, dout_XC.dim(0));
      dencoder = dout_XC.slice(0, 0, sources);
    }
    passes.memory.x_MC = memory_of(chunk, encoding);
    passes.memory.dx_MC = dencoder;
    const Tensor din = chunk.decoder->backward(dout, pairs.target_inputs_BT, reducer, decoding);
    if (!chunk.encoder) copy(din_XC.slice(0, 0, sources), dencoder, pass.stream);
    if (!chunk.decoder->is_first()) copy(din_XC.slice(0, sources, din_XC.dim(0)), din, pass.stream);
  }
  if (!chunk.encoder) return;
  const Tensor din = chunk.encoder->backward(dencoder, pairs.sources_BS, reducer, encoding);
  if (!chunk.encoder->is_first()) copy(din_XC, din, pass.stream);
}

void EncoderDecoder::backward_weights(int index, GradientReducer& reducer, const Pass& pass) {
  Chunk& chunk = this->chunk(index);
  if (chunk.decoder) chunk.decoder->backward_weights(reducer, pass);
  if (chunk.encoder) chunk.encoder->backward_weights(reducer, pass);
}

void EncoderDecoder::forward_loss(Tensor loss_1, const PairTensors& pairs, const Pass& pass) {
  whole();
  forward(/*chunk=*/0, pairs, {}, {}, pass);
  add_loss(loss_1, pairs, pass);
}

void EncoderDecoder::forward_backward(Tensor loss_1, const PairTensors& pairs, float scale,
                                      GradientReducer& reducer, const Pass& pass) {
  whole();
  forward(/*chunk=*/0, pairs, {}, {}, pass);
  backward(/*chunk=*/0, loss_1, pairs, scale, {}, {}, reducer, pass);
}

void EncoderDecoder::encode(Tensor sources_BS, Tensor source_lengths_B, KeyValueCache& cache, Memory memory,
                            Stream stream) {
  const Pass encoding = encoder_pass(sources_BS, source_lengths_B, {.stream = stream});
  whole().encoder->forward(sources_BS, {}, encoding);
  memory.x_MC = whole().encoder->output(encoding);
  whole().decoder->project_memory({.cache = &cache, .memory = &memory, .stream = stream});
}

Tensor EncoderDecoder::decode(Tensor tokens_N, KeyValueCache& cache, const Memory& memory, Stream stream) {
  const std::int64_t rows = tokens_N.dim(0);
  const Pass pass{.batch = rows, .sequence = 1, .cache = &cache, .memory = &memory, .stream = stream};
  whole().decoder->forward(tokens_N.view({rows, 1}), {}, pass);
  ++cache.length;
  return whole().decoder->output(pass);
}

double EncoderDecoder::flops(std::int64_t pairs, std::int64_t source_tokens,
                             std::int64_t target_tokens) const {
  // Keys that a query sees, on average.
  const auto window = static_cast<double>(options_.window);
  const auto s = static_cast<double>(source_tokens), t = static_cast<double>(target_tokens);
  const double source_length = s / static_cast<double>(pairs);
  const double target_length = t / static_cast<double>(pairs);
  const double w = window > 0.0 ? std::min(target_length, window) : target_length;
  const double source_keys = window > 0.0 ? std::min(source_length, 2.0 * window) : source_length;
  const double target_keys = w * (1.0 - w / (2.0 * target_length));
  const auto width = static_cast<double>(2 * options_.loops * options_.heads * options_.head_width);
  return 6.0 * (s * (static_cast<double>(num_source_weights_) +
                     width * static_cast<double>(options_.encoder_layers) * source_keys) +
                t * (static_cast<double>(num_target_weights_) +
                     width * static_cast<double>(options_.layers) * (source_length + target_keys)));
}

}  // namespace trireme
