// The position-wise feed-forward network.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/arena.h"
#include "trainer/model/linear.h"
#include "trainer/model/pass.h"

namespace trireme {

// y = W_2 gelu(W_1 x + b_1) + b_2, of inner width F.
class Mlp {
 public:
  struct Activations {
    Tensor preactivation_NF;
    Tensor hidden_NF;
  };
  // Memory of the backward pass, free again after it; all layers share one.
  struct Scratch {
    Tensor dhidden_NF;
  };

  // `out_stddev` is the initial spread of W_2, which feeds the residual stream.
  Mlp(ParameterBuffer& parameters, const std::string& name, std::int64_t width, std::int64_t feed_forward,
      float init_stddev, float out_stddev);

  Activations allocate(Arena& arena, const PassLimits& limits) const;
  Scratch allocate_scratch(Arena& arena, const PassLimits& limits) const;

  void forward(Tensor y_NC, Tensor x_NC, const Activations& activations, const Pass& pass) const;
  void backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const;

 private:
  std::int64_t feed_forward_;
  Linear in_;
  Linear out_;
};

}  // namespace trireme
