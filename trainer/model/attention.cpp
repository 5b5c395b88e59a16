#include "trainer/model/attention.h"

#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/rope.h"

namespace trireme {

SelfAttention::SelfAttention(ParameterBuffer& parameters, const std::string& name, std::int64_t layer,
                             const TransformerOptions& options, const PositionTables& positions,
                             float out_stddev)
    : layer_(layer),
      heads_(options.heads),
      kv_heads_(options.kv_heads),
      head_width_(options.head_width),
      window_(options.window),
      positions_(positions),
      in_(parameters, name + ".qkv", options.width, qkv_width(), options.biases != Biases::kNone,
          options.init_stddev),
      out_(parameters, name + ".out", heads_ * head_width_, options.width, options.biases == Biases::kAll,
           out_stddev) {}

SelfAttention::Activations SelfAttention::allocate(Arena& arena, const PassLimits& limits) const {
  return {.qkv_NG = arena.allocate(DType::kFloat32, {limits.rows(), qkv_width()}),
          .heads_NE = arena.allocate(DType::kFloat32, {limits.rows(), heads_ * head_width_}),
          .lse_NH = arena.allocate(DType::kFloat32, {limits.rows(), heads_})};
}

SelfAttention::Scratch SelfAttention::allocate_scratch(Arena& arena, const PassLimits& limits) const {
  return {.dheads_NE = arena.allocate(DType::kFloat32, {limits.rows(), heads_ * head_width_}),
          .dqkv_NG = arena.allocate(DType::kFloat32, {limits.rows(), qkv_width()})};
}

SelfAttention::Heads SelfAttention::split_heads(Tensor qkv_NG, const Pass& pass) const {
  const Tensor all_BTXD = qkv_NG.view({pass.batch, pass.sequence, heads_ + 2 * kv_heads_, head_width_});
  const std::int64_t keys = heads_;
  const std::int64_t values = keys + kv_heads_;
  return {.q_BTHD = all_BTXD.slice(2, 0, keys),
          .k_BTKD = all_BTXD.slice(2, keys, values),
          .v_BTKD = all_BTXD.slice(2, values, values + kv_heads_)};
}

Tensor SelfAttention::by_head(Tensor heads_NE, const Pass& pass) const {
  return heads_NE.view({pass.batch, pass.sequence, heads_, head_width_});
}

AttentionOptions SelfAttention::options(const Pass& pass) const {
  return {.scale = 1.0F / std::sqrt(static_cast<float>(head_width_)),
          .causal = true,
          .window = window_,
          .alibi_slopes_H = positions_.alibi_slopes_H(),
          .dropout = pass.dropout.at(layer_, DropoutSite::kAttention,
                                     attention_mask_size(heads_, pass.sequence, pass.sequence))};
}

void SelfAttention::forward(Tensor y_NC, Tensor x_NC, const Activations& activations,
                            const Pass& pass) const {
  const Tensor qkv = pass.rows_of(activations.qkv_NG);
  in_.forward(qkv, x_NC, pass.stream);
  Heads heads = split_heads(qkv, pass);
  if (positions_.rope_cos_PD()) {
    const std::int64_t first_position = pass.cache != nullptr ? pass.cache->length : 0;
    for (const Tensor& x : {heads.q_BTHD, heads.k_BTKD}) {
      rope_forward(x, positions_.rope_cos_PD(), positions_.rope_sin_PD(), first_position, {}, pass.stream);
    }
  }
  if (pass.cache != nullptr) {
    const KeyValueCache::Layer& cache = pass.cache->layers[static_cast<std::size_t>(layer_)];
    const std::int64_t begin = pass.cache->length;
    const std::int64_t end = begin + pass.sequence;
    copy(cache.keys_BSKD.slice(1, begin, end), heads.k_BTKD, pass.stream);
    copy(cache.values_BSKD.slice(1, begin, end), heads.v_BTKD, pass.stream);
    heads.k_BTKD = cache.keys_BSKD.slice(1, 0, end);
    heads.v_BTKD = cache.values_BSKD.slice(1, 0, end);
  }
  const Tensor heads_out = pass.rows_of(activations.heads_NE);
  attention_forward(by_head(heads_out, pass),
                    pass.rows_of(activations.lse_NH).view({pass.batch, heads_, pass.sequence}), heads.q_BTHD,
                    heads.k_BTKD, heads.v_BTKD, options(pass), pass.stream);
  out_.forward(y_NC, heads_out, pass.stream);
}

void SelfAttention::backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                             const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const {
  const Tensor heads_out = pass.rows_of(activations.heads_NE);
  const Tensor dheads_out = pass.rows_of(scratch.dheads_NE);
  out_.backward(dheads_out, dy_NC, heads_out, reducer, pass.stream);
  const Heads heads = split_heads(pass.rows_of(activations.qkv_NG), pass);
  const Tensor dqkv = pass.rows_of(scratch.dqkv_NG);
  const Heads dheads = split_heads(dqkv, pass);
  attention_backward(dheads.q_BTHD, dheads.k_BTKD, dheads.v_BTKD, by_head(dheads_out, pass),
                     by_head(heads_out, pass),
                     pass.rows_of(activations.lse_NH).view({pass.batch, heads_, pass.sequence}), heads.q_BTHD,
                     heads.k_BTKD, heads.v_BTKD, options(pass), pass.stream);
  if (positions_.rope_cos_PD()) {
    for (const Tensor& dx : {dheads.q_BTHD, dheads.k_BTKD}) {
      rope_backward(dx, positions_.rope_cos_PD(), positions_.rope_sin_PD(), 0, {}, pass.stream);
    }
  }
  in_.backward(dx_NC, dqkv, x_NC, reducer, pass.stream);
}

}  // namespace trireme
