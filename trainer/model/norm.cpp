#include "trainer/model/norm.h"

#include <glog/logging.h>

#include "kernels/norm.h"

namespace trireme {

ResidualNorm::ResidualNorm(ParameterBuffer& parameters, const std::string& name,
                           const TransformerOptions& options, const TensorRanks& ranks)
    : ranks_(ranks),
      placement_(options.norm_placement),
      epsilon_(options.norm_epsilon),
      weight_(add(parameters, name + ".weight", options.width, 1.0F)) {
  if (options.norm == NormKind::kLayer) bias_ = &add(parameters, name + ".bias", options.width, 0.0F);
}

Parameter& ResidualNorm::add(ParameterBuffer& parameters, const std::string& name, std::int64_t width,
                             float value) const {
  Parameter& parameter =
      parameters.add(name, Shape{width}, Initializer::constant(value), /*weight_decay=*/false);
  if (!ranks_.is_alone())
    parameter.replicas.push_back({.group = ranks_.group(), .elements = {0, width}, .is_partial = true});
  return parameter;
}

ResidualNorm::Activations ResidualNorm::allocate(Arena& arena, const PassLimits& limits,
                                                 const Activations* shared) const {
  const std::int64_t num_rows = ranks_.rows_per_rank(limits.rows());
  const Shape rows = {num_rows, weight_.shape[0]};
  return {.sum_NC = arena.allocate(limits.dtype, rows),
          .y_NC = shared != nullptr ? shared->y_NC : arena.allocate(limits.dtype, rows),
          .mean_N = is_layer_norm() ? arena.allocate(DType::kFloat32, {num_rows}) : Tensor(),
          .rstd_N = arena.allocate(DType::kFloat32, {num_rows})};
}

Tensor ResidualNorm::mean(const Activations& activations, const Pass& pass) const {
  return is_layer_norm() ? own_rows_of(activations.mean_N, pass) : Tensor();
}

Tensor ResidualNorm::forward(ResidualStream& stream, const Activations& activations, const Pass& pass) const {
  const Tensor y = own_rows_of(activations.y_NC, pass);
  const Tensor sum = own_rows_of(activations.sum_NC, pass);
  CHECK(stream.branch_NC || stream.residual_NC.raw_data() == sum.raw_data());
  residual_norm_forward(y, stream.branch_NC ? sum : Tensor(), mean(activations, pass),
                        own_rows_of(activations.rstd_N, pass), stream.residual_NC, stream.branch_NC,
                        weight_.operand, is_layer_norm() ? bias_->operand : Tensor(), epsilon_,
                        stream.dropout, pass.stream);
  stream = {.residual_NC = placement_ == NormPlacement::kPre ? sum : y, .branch_NC = {}, .dropout = {}};
  return y;
}

void ResidualNorm::recompute(const Activations& activations, const Pass& pass) const {
  ResidualStream stream{.residual_NC = own_rows_of(activations.sum_NC, pass), .branch_NC = {}, .dropout = {}};
  forward(stream, activations, pass);
}

void ResidualNorm::backward(ResidualGradient& gradient, Tensor dbranch_memory_NC, Tensor dy_NC,
                            const Activations& activations, Dropout dropout, GradientReducer& reducer,
                            const Pass& pass) const {
  const Tensor dbranch = dropout ? own_rows_of(dbranch_memory_NC, pass) : Tensor();
  residual_norm_backward(gradient.dresidual_NC, dbranch, weight_.gradient,
                         is_layer_norm() ? bias_->gradient : Tensor(), dy_NC,
                         own_rows_of(activations.sum_NC, pass), mean(activations, pass),
                         own_rows_of(activations.rstd_N, pass), weight_.operand, dropout, pass.stream);
  if (is_layer_norm()) reducer.mark_ready(*bias_, pass.stream);
  reducer.mark_ready(weight_, pass.stream);
  gradient.dbranch_NC = dbranch ? dbranch : gradient.dresidual_NC;
}

}  // namespace trireme
