#include "trainer/model/mlp.h"

namespace trireme {

Mlp::Mlp(ParameterBuffer& parameters, const std::string& name, std::int64_t width, std::int64_t feed_forward,
         float init_stddev, float out_stddev)
    : feed_forward_(feed_forward),
      in_(parameters, name + ".in", width, feed_forward, init_stddev),
      out_(parameters, name + ".out", feed_forward, width, out_stddev) {}

Mlp::Activations Mlp::allocate(Arena& arena, const PassLimits& limits) const {
  return {.preactivation_NF = arena.allocate(DType::kFloat32, {limits.rows(), feed_forward_}),
          .hidden_NF = arena.allocate(DType::kFloat32, {limits.rows(), feed_forward_})};
}

Mlp::Scratch Mlp::allocate_scratch(Arena& arena, const PassLimits& limits) const {
  return {.dhidden_NF = arena.allocate(DType::kFloat32, {limits.rows(), feed_forward_})};
}

void Mlp::forward(Tensor y_NC, Tensor x_NC, const Activations& activations, const Pass& pass) const {
  const Tensor hidden = pass.rows_of(activations.hidden_NF);
  in_.forward(hidden, pass.rows_of(activations.preactivation_NF), x_NC, Activation::kGeluTanh, pass.stream);
  out_.forward(y_NC, hidden, pass.stream);
}

void Mlp::backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                   const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const {
  const Tensor dhidden = pass.rows_of(scratch.dhidden_NF);
  out_.backward(dhidden, dy_NC, pass.rows_of(activations.hidden_NF), reducer, pass.stream);
  in_.backward(dx_NC, dhidden, x_NC, pass.rows_of(activations.preactivation_NF), Activation::kGeluTanh,
               reducer, pass.stream);
}

}  // namespace trireme
