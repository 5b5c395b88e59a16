#include "trainer/model/linear.h"

#include "kernels/elementwise.h"

namespace trireme {

Linear::Linear(ParameterBuffer& parameters, const std::string& name, std::int64_t inputs,
               std::int64_t outputs, bool has_bias, float init_stddev)
    : weight_(parameters.add(name + ".weight", {outputs, inputs}, Initializer::normal(init_stddev),
                             /*weight_decay=*/true)) {
  if (has_bias) {
    bias_ = &parameters.add(name + ".bias", {outputs}, Initializer::constant(0.0F), /*weight_decay=*/false);
  }
}

void Linear::forward(Tensor y_NO, Tensor x_NI, Stream stream) const {
  linear_forward(y_NO, x_NI, weight_.value, bias(), stream);
}

void Linear::forward(Tensor y_NO, Tensor preactivation_NO, Tensor x_NI, Activation activation,
                     Stream stream) const {
  linear_activation_forward(y_NO, preactivation_NO, x_NI, weight_.value, bias(), activation, stream);
}

void Linear::backward(Tensor dx_NI, Tensor dy_NO, Tensor x_NI, GradientReducer& reducer, Stream stream,
                      const Deferral& deferral) const {
  linear_backward(dx_NI, dweight(deferral), dbias(), dy_NO, x_NI, weight_.value, stream);
  end_backward(dy_NO, x_NI, reducer, stream, deferral);
}

void Linear::backward(Tensor dx_NI, Tensor dy_NO, Tensor x_NI, Tensor preactivation_NO, Activation activation,
                      GradientReducer& reducer, Stream stream, const Deferral& deferral) const {
  linear_activation_backward(dx_NI, dweight(deferral), dbias(), dy_NO, x_NI, weight_.value, preactivation_NO,
                             activation, stream);
  end_backward(dy_NO, x_NI, reducer, stream, deferral);
}

void Linear::backward_weight(Tensor dy_NO, Tensor x_NI, GradientReducer& reducer, Stream stream) const {
  linear_backward({}, weight_.gradient, {}, dy_NO, x_NI, weight_.value, stream);
  reducer.mark_ready(weight_, stream);
}

void Linear::end_backward(Tensor dy_NO, Tensor x_NI, GradientReducer& reducer, Stream stream,
                          const Deferral& deferral) const {
  if (bias_ != nullptr) reducer.mark_ready(*bias_, stream);
  if (deferral.queue == nullptr) {
    reducer.mark_ready(weight_, stream);
    return;
  }
  if (deferral.dy_NO.raw_data() != dy_NO.raw_data()) copy(deferral.dy_NO, dy_NO, stream);
  deferral.queue->add(*this, deferral.dy_NO, x_NI);
}

}  // namespace trireme
