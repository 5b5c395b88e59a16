#include "trainer/model/norm.h"

#include <glog/logging.h>

namespace trireme {
namespace {

constexpr float kEpsilon = 1e-5F;

}  // namespace

ResidualNorm::ResidualNorm(ParameterBuffer& parameters, const std::string& name, std::int64_t width)
    : width_(width),
      weight_(parameters.add(name + ".weight", {width}, Initializer::constant(1.0F), /*weight_decay=*/false)),
      bias_(parameters.add(name + ".bias", {width}, Initializer::constant(0.0F), /*weight_decay=*/false)) {}

ResidualNorm::Activations ResidualNorm::allocate(Arena& arena, const PassLimits& limits) const {
  return {.sum_NC = arena.allocate(DType::kFloat32, {limits.rows(), width_}),
          .y_NC = arena.allocate(DType::kFloat32, {limits.rows(), width_}),
          .mean_N = arena.allocate(DType::kFloat32, {limits.rows()}),
          .rstd_N = arena.allocate(DType::kFloat32, {limits.rows()})};
}

Tensor ResidualNorm::forward(ResidualStream& stream, const Activations& activations, const Pass& pass) const {
  const Tensor y = pass.rows_of(activations.y_NC);
  const Tensor sum = pass.rows_of(activations.sum_NC);
  CHECK(stream.branch_NC || stream.residual_NC.raw_data() == sum.raw_data());
  residual_layer_norm_forward(y, stream.branch_NC ? sum : Tensor(), pass.rows_of(activations.mean_N),
                              pass.rows_of(activations.rstd_N), stream.residual_NC, stream.branch_NC,
                              weight_.value, bias_.value, kEpsilon, stream.dropout, pass.stream);
  stream = {.residual_NC = sum, .branch_NC = {}, .dropout = {}};
  return y;
}

void ResidualNorm::backward(ResidualGradient& gradient, Tensor dbranch_memory_NC, Tensor dy_NC,
                            const Activations& activations, Dropout dropout, GradientReducer& reducer,
                            const Pass& pass) const {
  const Tensor dbranch = dropout ? pass.rows_of(dbranch_memory_NC) : Tensor();
  residual_layer_norm_backward(gradient.dresidual_NC, dbranch, weight_.gradient, bias_.gradient, dy_NC,
                               pass.rows_of(activations.sum_NC), pass.rows_of(activations.mean_N),
                               pass.rows_of(activations.rstd_N), weight_.value, dropout, pass.stream);
  gradient.dbranch_NC = dbranch ? dbranch : gradient.dresidual_NC;
  reducer.mark_ready(bias_, pass.stream);
  reducer.mark_ready(weight_, pass.stream);
}

}  // namespace trireme
