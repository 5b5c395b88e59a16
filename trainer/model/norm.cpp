#include "trainer/model/norm.h"

#include <glog/logging.h>

#include "kernels/norm.h"

namespace trireme {

ResidualNorm::ResidualNorm(ParameterBuffer& parameters, const std::string& name,
                           const TransformerOptions& options)
    : placement_(options.norm_placement),
      epsilon_(options.norm_epsilon),
      weight_(parameters.add(name + ".weight", {options.width}, Initializer::constant(1.0F),
                             /*weight_decay=*/false)) {
  if (options.norm == NormKind::kLayer) {
    bias_ =
        &parameters.add(name + ".bias", {options.width}, Initializer::constant(0.0F), /*weight_decay=*/false);
  }
}

ResidualNorm::Activations ResidualNorm::allocate(Arena& arena, const PassLimits& limits,
                                                 const Activations* shared) const {
  const Shape rows = {limits.rows(), weight_.shape[0]};
  return {.sum_NC = arena.allocate(DType::kFloat32, rows),
          .y_NC = shared != nullptr ? shared->y_NC : arena.allocate(DType::kFloat32, rows),
          .mean_N = is_layer_norm() ? arena.allocate(DType::kFloat32, {limits.rows()}) : Tensor(),
          .rstd_N = arena.allocate(DType::kFloat32, {limits.rows()})};
}

Tensor ResidualNorm::mean(const Activations& activations, const Pass& pass) const {
  return is_layer_norm() ? pass.rows_of(activations.mean_N) : Tensor();
}

Tensor ResidualNorm::forward(ResidualStream& stream, const Activations& activations, const Pass& pass) const {
  const Tensor y = pass.rows_of(activations.y_NC);
  const Tensor sum = pass.rows_of(activations.sum_NC);
  CHECK(stream.branch_NC || stream.residual_NC.raw_data() == sum.raw_data());
  residual_norm_forward(y, stream.branch_NC ? sum : Tensor(), mean(activations, pass),
                        pass.rows_of(activations.rstd_N), stream.residual_NC, stream.branch_NC, weight_.value,
                        is_layer_norm() ? bias_->value : Tensor(), epsilon_, stream.dropout, pass.stream);
  stream = {.residual_NC = placement_ == NormPlacement::kPre ? sum : y, .branch_NC = {}, .dropout = {}};
  return y;
}

void ResidualNorm::recompute(const Activations& activations, const Pass& pass) const {
  ResidualStream stream{.residual_NC = pass.rows_of(activations.sum_NC), .branch_NC = {}, .dropout = {}};
  forward(stream, activations, pass);
}

void ResidualNorm::backward(ResidualGradient& gradient, Tensor dbranch_memory_NC, Tensor dy_NC,
                            const Activations& activations, Dropout dropout, GradientReducer& reducer,
                            const Pass& pass) const {
  const Tensor dbranch = dropout ? pass.rows_of(dbranch_memory_NC) : Tensor();
  residual_norm_backward(gradient.dresidual_NC, dbranch, weight_.gradient,
                         is_layer_norm() ? bias_->gradient : Tensor(), dy_NC,
                         pass.rows_of(activations.sum_NC), mean(activations, pass),
                         pass.rows_of(activations.rstd_N), weight_.value, dropout, pass.stream);
  if (is_layer_norm()) reducer.mark_ready(*bias_, pass.stream);
  reducer.mark_ready(weight_, pass.stream);
  gradient.dbranch_NC = dbranch ? dbranch : gradient.dresidual_NC;
}

}  // namespace trireme
