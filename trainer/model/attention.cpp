#include "trainer/model/attention.h"

#include <cmath>

#include "kernels/elementwise.h"

namespace trireme {

SelfAttention::SelfAttention(ParameterBuffer& parameters, const std::string& name, std::int64_t layer,
                             std::int64_t width, std::int64_t heads, float init_stddev, float out_stddev)
    : layer_(layer),
      width_(width),
      heads_(heads),
      in_(parameters, name + ".qkv", width, 3 * width, init_stddev),
      out_(parameters, name + ".out", width, width, out_stddev) {}

SelfAttention::Activations SelfAttention::allocate(Arena& arena, const PassLimits& limits) const {
  return {.qkv_NG = arena.allocate(DType::kFloat32, {limits.rows(), 3 * width_}),
          .heads_NC = arena.allocate(DType::kFloat32, {limits.rows(), width_}),
          .lse_NH = arena.allocate(DType::kFloat32, {limits.rows(), heads_})};
}

SelfAttention::Scratch SelfAttention::allocate_scratch(Arena& arena, const PassLimits& limits) const {
  return {.dheads_NC = arena.allocate(DType::kFloat32, {limits.rows(), width_}),
          .dqkv_NG = arena.allocate(DType::kFloat32, {limits.rows(), 3 * width_})};
}

SelfAttention::Heads SelfAttention::split_heads(Tensor qkv_NG, const Pass& pass) const {
  const Tensor qkv_BT3HD = qkv_NG.view({pass.batch, pass.sequence, 3, heads_, width_ / heads_});
  const auto part = [&](std::int64_t i) { return qkv_BT3HD.slice(2, i, i + 1).squeeze(2); };
  return {.q_BTHD = part(0), .k_BTHD = part(1), .v_BTHD = part(2)};
}

AttentionOptions SelfAttention::options(const Pass& pass) const {
  return {
      .scale = 1.0F / std::sqrt(static_cast<float>(width_ / heads_)),
      .causal = true,
      .dropout = pass.dropout.at(layer_, DropoutSite::kAttention, attention_mask_size(heads_, pass.sequence, pass.sequence))};
}

void SelfAttention::forward(Tensor y_NC, Tensor x_NC, const Activations& activations,
                            const Pass& pass) const {
  const Tensor qkv = pass.rows_of(activations.qkv_NG);
  in_.forward(qkv, x_NC, pass.stream);
  Heads heads = split_heads(qkv, pass);
  if (pass.cache != nullptr) {
    const KeyValueCache::Layer& cache = pass.cache->layers[static_cast<std::size_t>(layer_)];
    const std::int64_t begin = pass.cache->length;
    const std::int64_t end = begin + pass.sequence;
    copy(cache.keys_BSHD.slice(1, begin, end), heads.k_BTHD, pass.stream);
    copy(cache.values_BSHD.slice(1, begin, end), heads.v_BTHD, pass.stream);
    heads.k_BTHD = cache.keys_BSHD.slice(1, 0, end);
    heads.v_BTHD = cache.values_BSHD.slice(1, 0, end);
  }
  const Tensor heads_out = pass.rows_of(activations.heads_NC);
  attention_forward(heads_out.view({pass.batch, pass.sequence, heads_, width_ / heads_}),
                    pass.rows_of(activations.lse_NH).view({pass.batch, heads_, pass.sequence}), heads.q_BTHD,
                    heads.k_BTHD, heads.v_BTHD, options(pass), pass.stream);
  out_.forward(y_NC, heads_out, pass.stream);
}

void SelfAttention::backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                             const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const {
  const Shape heads_shape = {pass.batch, pass.sequence, heads_, width_ / heads_};
  const Tensor heads_out = pass.rows_of(activations.heads_NC);
  const Tensor dheads_out = pass.rows_of(scratch.dheads_NC);
  out_.backward(dheads_out, dy_NC, heads_out, reducer, pass.stream);
  const Heads heads = split_heads(pass.rows_of(activations.qkv_NG), pass);
  const Tensor dqkv = pass.rows_of(scratch.dqkv_NG);
  const Heads dheads = split_heads(dqkv, pass);
  attention_backward(dheads.q_BTHD, dheads.k_BTHD, dheads.v_BTHD, dheads_out.view(heads_shape),
                     heads_out.view(heads_shape),
                     pass.rows_of(activations.lse_NH).view({pass.batch, heads_, pass.sequence}), heads.q_BTHD,
                     heads.k_BTHD, heads.v_BTHD, options(pass), pass.stream);
  in_.backward(dx_NC, dqkv, x_NC, reducer, pass.stream);
}

}  // namespace trireme
