#include "trainer/model/output_transform.h"

#include "kernels/activation.h"
#include "kernels/elementwise.h"

namespace trireme {

OutputTransform::OutputTransform(ParameterBuffer& parameters, const TransformerOptions& options)
    : width_(options.width),
      activation_(activation_of(options.activation)),
      dense_(parameters, "output.transform", width_, width_, options.biases == Biases::kAll,
             options.init_stddev),
      norm_(parameters, "output.norm", options) {}

OutputTransform::Activations OutputTransform::allocate(Arena& arena, const PassLimits& limits) const {
  const Shape rows = {limits.rows(), width_};
  return {.preactivation_NC = arena.allocate(limits.dtype, rows),
          .norm = norm_.allocate(arena, limits),
          .dsum_NC = limits.training ? arena.allocate(limits.dtype, rows) : Tensor()};
}

Tensor OutputTransform::forward(Tensor x_NC, const Activations& activations, const Pass& pass) const {
  const Tensor sum = pass.rows_of(activations.norm.sum_NC);
  dense_.forward(sum, pass.rows_of(activations.preactivation_NC), x_NC, activation_, pass.stream);
  ResidualStream stream{.residual_NC = sum, .branch_NC = {}, .dropout = {}};
  return norm_.forward(stream, activations.norm, pass);
}

void OutputTransform::backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                               GradientReducer& reducer, const Pass& pass) const {
  ResidualGradient sum{.dresidual_NC = pass.rows_of(activations.dsum_NC), .dbranch_NC = {}};
  fill(sum.dresidual_NC, 0.0F, pass.stream);
  norm_.backward(sum, {}, dy_NC, activations.norm, Dropout(), reducer, pass);
  const Tensor dpreactivation = sum.dresidual_NC;
  activation_backward(dpreactivation, sum.dresidual_NC, pass.rows_of(activations.preactivation_NC),
                      activation_, pass.stream);
  dense_.backward(dx_NC, dpreactivation, x_NC, reducer, pass.stream);
}

}  // namespace trireme
