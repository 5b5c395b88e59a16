#include "trainer/model/attention.h"

#include <cmath>

#include <glog/logging.h>

#include "kernels/elementwise.h"
#include "kernels/rope.h"

namespace trireme {
namespace {

Tensor activation(Arena& arena, const PassLimits& limits, std::int64_t rows, std::int64_t columns) {
  return arena.allocate(limits.dtype, {rows, columns});
}

AttentionOptions memory_mask(const Memory& memory) {
  return {.causal = false,
          .query_documents_BT = memory.query_documents_BT,
          .key_documents_BS = memory.documents_BS};
}

}  // namespace

HeadShare::HeadShare(const TransformerOptions& options, const TensorRanks& ranks)
    : all_heads(options.heads),
      head_width(options.head_width),
      heads(ranks.share(options.heads)),
      kv_heads(ranks.share_of_kv_heads(options.kv_heads)) {}

HeadAttention::HeadAttention(ParameterBuffer& parameters, const std::string& name, std::int64_t layer,
                             AttentionKind kind, const TransformerOptions& options, float out_stddev,
                             const TensorRanks& ranks)
    : ranks_(ranks),
      layer_(layer),
      kind_(kind),
      width_(options.width),
      share_(options, ranks),
      head_width_(options.head_width),
      out_(parameters, name + ".out", options.heads * head_width_, options.width,
           options.biases == Biases::kAll, out_stddev,
           LinearSplit::inputs(ranks, share_.rows(share_.heads))) {}

HeadAttention::Activations HeadAttention::allocate(Arena& arena, const PassLimits& limits) const {
  const std::int64_t heads = share_.heads.size();
  return {.heads_NE = activation(arena, limits, limits.rows(), heads * head_width_),
          .lse_NH = arena.allocate(DType::kFloat32, {limits.rows(), heads}),
          .dy_NC = limits.deferred_weights
                       ? activation(arena, limits, ranks_.rows_per_rank(limits.rows()), width_)
                       : Tensor()};
}

HeadAttention::Scratch HeadAttention::allocate_scratch(Arena& arena, const PassLimits& limits) const {
  return {.dheads_NE = activation(arena, limits, limits.rows(), share_.heads.size() * head_width_)};
}

AttentionOptions HeadAttention::completed(AttentionOptions mask, const Heads& heads, const Pass& pass) const {
  mask.scale = 1.0F / std::sqrt(static_cast<float>(head_width_));
  mask.dropout =
      pass.dropout.at(layer_, DropoutSite::kAttention,
                      attention_mask_size(share_.all_heads, heads.q_BTHD.dim(1), heads.k_BSKD.dim(1)));
  mask.first_head = share_.heads.begin;
  mask.mask_heads = share_.all_heads;
  mask.library = pass.attention;
  return mask;
}

void HeadAttention::forward(Tensor y_NC, const Heads& heads, AttentionOptions mask,
                            const Activations& activations, const Pass& pass) const {
  const Shape& q = heads.q_BTHD.shape();
  const Tensor out = pass.rows_of(activations.heads_NE);
  const AttentionOptions options = completed(mask, heads, pass);
  if (pass.attention_observer != nullptr) {
    pass.attention_observer->observe(kind_, heads.q_BTHD, heads.k_BSKD, options, pass.stream);
  }
  attention_forward(out.view(q), pass.rows_of(activations.lse_NH).view({q[0], q[2], q[1]}), heads.q_BTHD,
                    heads.k_BSKD, heads.v_BSKD, options, pass.stream);
  out_.forward(y_NC, out, pass.stream);
}

void HeadAttention::backward(const Heads& dheads, Tensor dy_NC, const Heads& heads, AttentionOptions mask,
                             const Activations& activations, const Scratch& scratch, GradientReducer& reducer,
                             const Pass& pass) const {
  const Shape& q = heads.q_BTHD.shape();
  const Tensor out = pass.rows_of(activations.heads_NE);
  const Tensor dout = pass.rows_of(scratch.dheads_NE);
  out_.backward(dout, dy_NC, out, reducer, pass.stream, pass.deferral(activations.dy_NC));
  attention_backward(dheads.q_BTHD, dheads.k_BSKD, dheads.v_BSKD, dout.view(q), out.view(q),
                     pass.rows_of(activations.lse_NH).view({q[0], q[2], q[1]}), heads.q_BTHD, heads.k_BSKD,
                     heads.v_BSKD, completed(mask, heads, pass), pass.stream);
}

SelfAttention::SelfAttention(ParameterBuffer& parameters, const std::string& name, std::int64_t layer,
                             bool causal, const TransformerOptions& options, const PositionTables& positions,
                             float out_stddev, const TensorRanks& ranks)
    : layer_(layer),
      causal_(causal),
      share_(options, ranks),
      heads_(share_.heads.size()),
      kv_heads_(share_.kv_heads.size()),
      head_width_(options.head_width),
      window_(options.window),
      positions_(positions),
      in_(parameters, name + ".qkv", options.width, (options.heads + 2 * options.kv_heads) * head_width_,
          options.biases != Biases::kNone, options.init_stddev,
          LinearSplit::outputs(
              ranks, {share_.rows(share_.heads), share_.rows(share_.kv_heads, options.heads * head_width_),
                      share_.rows(share_.kv_heads, (options.heads + options.kv_heads) * head_width_)})),
      attention_(parameters, name, layer, causal ? AttentionKind::kDecoder : AttentionKind::kEncoder, options,
                 out_stddev, ranks) {
  if (ranks.kv_sharers() != nullptr) in_.share_outputs(*ranks.kv_sharers(), heads_ * head_width_);
}

SelfAttention::Activations SelfAttention::allocate(Arena& arena, const PassLimits& limits) const {
  return {.qkv_NG = activation(arena, limits, limits.rows(), qkv_width()),
          .heads = attention_.allocate(arena, limits)};
}

SelfAttention::Scratch SelfAttention::allocate_scratch(Arena& arena, const PassLimits& limits) const {
  return {.dqkv_NG = activation(arena, limits, limits.rows(), qkv_width()),
          .heads = attention_.allocate_scratch(arena, limits)};
}

HeadAttention::Heads SelfAttention::split_heads(Tensor qkv_NG, const Pass& pass) const {
  const Tensor all_BTXD = qkv_NG.view({pass.batch, pass.sequence, heads_ + 2 * kv_heads_, head_width_});
  const std::int64_t keys = heads_;
  const std::int64_t values = keys + kv_heads_;
  return {.q_BTHD = all_BTXD.slice(2, 0, keys),
          .k_BSKD = all_BTXD.slice(2, keys, values),
          .v_BSKD = all_BTXD.slice(2, values, values + kv_heads_)};
}

AttentionOptions SelfAttention::mask(const Pass& pass) const {
  const Tensor slopes = positions_.alibi_slopes_H();
  return {.causal = causal_,
          .window = window_,
          .alibi_slopes_H = slopes ? slopes.slice(0, share_.heads.begin, share_.heads.end) : slopes,
          .query_documents_BT = pass.documents_BT,
          .key_documents_BS = pass.documents_BT};
}

void SelfAttention::forward(Tensor y_NC, Tensor x_NC, const Activations& activations,
                            const Pass& pass) const {
  const Tensor qkv = pass.rows_of(activations.qkv_NG);
  in_.forward(qkv, x_NC, pass.stream);
  HeadAttention::Heads heads = split_heads(qkv, pass);
  if (positions_.rope_cos_PD()) {
    const std::int64_t first_position = pass.cache != nullptr ? pass.cache->length : 0;
    for (const Tensor& x : {heads.q_BTHD, heads.k_BSKD}) {
      rope_forward(x, positions_.rope_cos_PD(), positions_.rope_sin_PD(), first_position, pass.positions_BT,
                   pass.stream);
    }
  }
  if (pass.cache != nullptr) {
    const KeyValueCache::Layer& cache =
        pass.cache->layers[static_cast<std::size_t>(pass.first_cached + layer_)];
    const std::int64_t begin = pass.cache->length;
    const std::int64_t end = begin + pass.sequence;
    copy(cache.keys_BSKD.slice(1, begin, end), heads.k_BSKD, pass.stream);
    copy(cache.values_BSKD.slice(1, begin, end), heads.v_BSKD, pass.stream);
    heads.k_BSKD = cache.keys_BSKD.slice(1, 0, end);
    heads.v_BSKD = cache.values_BSKD.slice(1, 0, end);
  }
  attention_.forward(y_NC, heads, mask(pass), activations.heads, pass);
}

void SelfAttention::backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                             const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const {
  const HeadAttention::Heads heads = split_heads(pass.rows_of(activations.qkv_NG), pass);
  const Tensor dqkv = pass.rows_of(scratch.dqkv_NG);
  const HeadAttention::Heads dheads = split_heads(dqkv, pass);
  attention_.backward(dheads, dy_NC, heads, mask(pass), activations.heads, scratch.heads, reducer, pass);
  if (positions_.rope_cos_PD()) {
    for (const Tensor& dx : {dheads.q_BTHD, dheads.k_BSKD}) {
      rope_backward(dx, positions_.rope_cos_PD(), positions_.rope_sin_PD(), 0, pass.positions_BT,
                    pass.stream);
    }
  }
  in_.backward(dx_NC, dqkv, x_NC, reducer, pass.stream, pass.deferral(activations.qkv_NG));
}

CrossAttention::CrossAttention(ParameterBuffer& parameters, const std::string& name, std::int64_t layer,
                               std::int64_t block, const TransformerOptions& options,
                               const PositionTables& positions, float out_stddev, const TensorRanks& ranks)
    : ranks_(ranks),
      block_(block),
      width_(options.width),
      share_(options, ranks),
      heads_(share_.heads.size()),
      kv_heads_(share_.kv_heads.size()),
      head_width_(options.head_width),
      positions_(options.cross_positions ? &positions : nullptr),
      query_(parameters, name + ".query", width_, options.heads * head_width_,
             options.biases != Biases::kNone, options.init_stddev,
             LinearSplit::outputs(ranks, {share_.rows(share_.heads)})),
      key_value_(parameters, name + ".key_value", width_, 2 * options.kv_heads * head_width_,
                 options.biases != Biases::kNone, options.init_stddev,
                 LinearSplit::outputs(ranks, {share_.rows(share_.kv_heads),
                                              share_.rows(share_.kv_heads, options.kv_heads * head_width_)})),
      attention_(parameters, name, layer, AttentionKind::kCross, options, out_stddev, ranks) {
  if (ranks.kv_sharers() != nullptr) key_value_.share_outputs(*ranks.kv_sharers(), 0);
}

CrossAttention::Activations CrossAttention::allocate(Arena& arena, const PassLimits& limits) const {
  return {.q_NE = activation(arena, limits, limits.rows(), query_width()),
          .kv_MG = activation(arena, limits, limits.memory_rows, kv_width()),
          .heads = attention_.allocate(arena, limits)};
}

CrossAttention::Scratch CrossAttention::allocate_scratch(Arena& arena, const PassLimits& limits) const {
  return {.dq_NE = activation(arena, limits, limits.rows(), query_width()),
          .dkv_MG = activation(arena, limits, limits.memory_rows, kv_width()),
          .dmemory_MC = activation(arena, limits, ranks_.rows_per_rank(limits.memory_rows), width_),
          .heads = attention_.allocate_scratch(arena, limits)};
}

HeadAttention::Heads CrossAttention::split_heads(Tensor q_NE, Tensor kv_MG, const Memory& memory) const {
  const std::int64_t queries = q_NE.dim(0) / memory.batch;
  const Tensor kv_BSXD = kv_MG.view({memory.batch, memory.sequence, 2 * kv_heads_, head_width_});
  return {.q_BTHD = q_NE.view({memory.batch, queries, heads_, head_width_}),
          .k_BSKD = kv_BSXD.slice(2, 0, kv_heads_),
          .v_BSKD = kv_BSXD.slice(2, kv_heads_, 2 * kv_heads_)};
}

Tensor CrossAttention::queries_by_position(Tensor q_NE, const Pass& pass) const {
  return q_NE.view({pass.batch, pass.sequence, heads_, head_width_});
}

void CrossAttention::project_memory(Tensor kv_BSG, const Memory& memory, Stream stream) const {
  key_value_.forward(kv_BSG.view({memory.batch * memory.sequence, kv_width()}), memory.x_MC, stream);
  if (positions_ == nullptr) return;
  const Tensor kv_BSXD = kv_BSG.view({memory.batch, memory.sequence, 2 * kv_heads_, head_width_});
  rope_forward(kv_BSXD.slice(2, 0, kv_heads_), positions_->rope_cos_PD(), positions_->rope_sin_PD(), 0, {},
               stream);
}

void CrossAttention::forward(Tensor y_NC, Tensor x_NC, const Activations& activations,
                             const Pass& pass) const {
  CHECK(pass.memory != nullptr);
  const Memory& memory = *pass.memory;
  const Tensor q = pass.rows_of(activations.q_NE);
  query_.forward(q, x_NC, pass.stream);
  if (positions_ != nullptr) {
    rope_forward(queries_by_position(q, pass), positions_->rope_cos_PD(), positions_->rope_sin_PD(),
                 pass.cache != nullptr ? pass.cache->length : 0, {}, pass.stream);
  }
  Tensor kv;
  if (pass.cache != nullptr) {
    kv = pass.cache->memory_BSG[static_cast<std::size_t>(block_)];
  } else {
    kv = activations.kv_MG.slice(0, 0, memory.batch * memory.sequence);
    project_memory(kv, memory, pass.stream);
  }
  attention_.forward(y_NC, split_heads(q, kv, memory), memory_mask(memory), activations.heads, pass);
}

void CrossAttention::backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                              const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const {
  const Memory& memory = *pass.memory;
  const auto rows_of_memory = [&](Tensor x) { return x.slice(0, 0, memory.batch * memory.sequence); };
  const Tensor dq = pass.rows_of(scratch.dq_NE);
  const Tensor dkv = rows_of_memory(scratch.dkv_MG);
  const Tensor dmemory = ranks_.own_rows_of(scratch.dmemory_MC, memory.batch * memory.sequence);
  const HeadAttention::Heads dheads = split_heads(dq, dkv, memory);
  attention_.backward(dheads, dy_NC,
                      split_heads(pass.rows_of(activations.q_NE), rows_of_memory(activations.kv_MG), memory),
                      memory_mask(memory), activations.heads, scratch.heads, reducer, pass);
  if (positions_ != nullptr) {
    for (const Tensor& dx : {queries_by_position(dq, pass), dheads.k_BSKD}) {
      rope_backward(dx, positions_->rope_cos_PD(), positions_->rope_sin_PD(), 0, {}, pass.stream);
    }
  }
  const Deferral of_memory{.queue = pass.deferred, .dy_NO = rows_of_memory(activations.kv_MG)};
  key_value_.backward(dmemory, dkv, memory.x_MC, reducer, pass.stream, of_memory);
  accumulate(memory.dx_MC, dmemory, pass.stream);
  query_.backward(dx_NC, dq, x_NC, reducer, pass.stream, pass.deferral(activations.q_NE));
}

}  // namespace trireme
