// What BERT puts between its last block and the output layer.
#pragma once

#include "kernels/arena.h"
#include "trainer/model/linear.h"
#include "trainer/model/mlp.h"
#include "trainer/model/norm.h"
#include "trainer/model/pass.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

// y = norm(activation(x W^T + b)), with the blocks' norm and activation (the plain one of a gated one).
class OutputTransform {
 public:
  struct Activations {
    Tensor preactivation_NC;
    ResidualNorm::Activations norm;  // its y is this layer's
    Tensor dsum_NC;                  // only when training
  };

  OutputTransform(ParameterBuffer& parameters, const TransformerOptions& options);

  Activations allocate(Arena& arena, const PassLimits& limits) const;

  Tensor forward(Tensor x_NC, const Activations& activations, const Pass& pass) const;
  // `dx` may be `dy`.
  void backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                GradientReducer& reducer, const Pass& pass) const;

 private:
  std::int64_t width_;
  Activation activation_;
  Linear dense_;
  ResidualNorm norm_;
};

}  // namespace trireme
