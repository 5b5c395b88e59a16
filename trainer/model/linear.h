// A fully connected layer.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/linear.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"

namespace trireme {

// y = x W^T + b; weight [O, I], bias [O].
class Linear {
 public:
  Linear(ParameterBuffer& parameters, const std::string& name, std::int64_t inputs, std::int64_t outputs,
         float init_stddev);

  void forward(Tensor y_NO, Tensor x_NI, Stream stream) const;
  // y = activation(preactivation).
  void forward(Tensor y_NO, Tensor preactivation_NO, Tensor x_NI, Activation activation, Stream stream) const;

  void backward(Tensor dx_NI, Tensor dy_NO, Tensor x_NI, GradientReducer& reducer, Stream stream) const;
  // `dy` is overwritten.
  void backward(Tensor dx_NI, Tensor dy_NO, Tensor x_NI, Tensor preactivation_NO, Activation activation,
                GradientReducer& reducer, Stream stream) const;

 private:
  const Parameter& weight_;
  const Parameter& bias_;
};

}  // namespace trireme
