// A fully connected layer.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/linear.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "trainer/model/deferred_gradients.h"

namespace trireme {

// y = x W^T + b; weight [O, I], bias [O], which there may not be.
class Linear {
 public:
  Linear(ParameterBuffer& parameters, const std::string& name, std::int64_t inputs, std::int64_t outputs,
         bool has_bias, float init_stddev);

  void forward(Tensor y_NO, Tensor x_NI, Stream stream) const;
  // y = activation(preactivation).
  void forward(Tensor y_NO, Tensor preactivation_NO, Tensor x_NI, Activation activation, Stream stream) const;

  // Where weights wait, theirs is left to the deferral's queue, with dy in its memory, which may be dy's.
  void backward(Tensor dx_NI, Tensor dy_NO, Tensor x_NI, GradientReducer& reducer, Stream stream,
                const Deferral& deferral = {}) const;
  // `dy` is overwritten.  It may be deferred in the preactivation's memory.
  void backward(Tensor dx_NI, Tensor dy_NO, Tensor x_NI, Tensor preactivation_NO, Activation activation,
                GradientReducer& reducer, Stream stream, const Deferral& deferral = {}) const;
  // The deferred part.
  void backward_weight(Tensor dy_NO, Tensor x_NI, GradientReducer& reducer, Stream stream) const;

 private:
  Tensor bias() const { return bias_ != nullptr ? bias_->value : Tensor(); }
  Tensor dbias() const { return bias_ != nullptr ? bias_->gradient : Tensor(); }
  Tensor dweight(const Deferral& deferral) const {
    return deferral.queue == nullptr ? weight_.gradient : Tensor();
  }
  // Defers, or marks what is ready.
  void end_backward(Tensor dy_NO, Tensor x_NI, GradientReducer& reducer, Stream stream,
                    const Deferral& deferral) const;

  const Parameter& weight_;
  const Parameter* bias_ = nullptr;
};

}  // namespace trireme
