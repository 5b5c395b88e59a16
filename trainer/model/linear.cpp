#include "trainer/model/linear.h"

#include <glog/logging.h>

#include "kernels/elementwise.h"

namespace trireme {
namespace {

ParameterPart weight_part(Shape whole, const LinearSplit& split) {
  switch (split.kind) {
    case LinearSplit::Kind::kNone:
      return ParameterPart::all_of(whole);
    case LinearSplit::Kind::kOutputs:
      return ParameterPart::rows_of(whole, split.part);
    case LinearSplit::Kind::kInputs:
      return ParameterPart::columns_of(whole, split.part.front());
  }
  return {};
}

}  // namespace

Linear::Linear(ParameterBuffer& parameters, const std::string& name, std::int64_t inputs,
               std::int64_t outputs, bool has_bias, float init_stddev, const LinearSplit& split)
    : ranks_(split.ranks),
      kind_(split.ranks.is_alone() ? LinearSplit::Kind::kNone : split.kind),
      weight_(parameters.add(name + ".weight", weight_part({outputs, inputs}, split),
                             Initializer::normal(init_stddev),
                             /*weight_decay=*/true)) {
  if (!has_bias) return;
  const bool is_split = kind_ == LinearSplit::Kind::kOutputs;
  bias_ = &parameters.add(
      name + ".bias",
      is_split ? ParameterPart::rows_of({outputs}, split.part) : ParameterPart::all_of({outputs}),
      Initializer::constant(0.0F), /*weight_decay=*/false);
  // All rows of dy pass by every rank.
  if (kind_ == LinearSplit::Kind::kInputs)
    bias_->replicas.push_back({.group = ranks_.group(), .elements = {0, outputs}});
}

void Linear::share_outputs(Communicator& group, std::int64_t first) {
  for (Parameter* const parameter : {&weight_, bias_}) {
    if (parameter == nullptr) continue;
    const std::int64_t size = parameter->shape.num_elements();
    const std::int64_t begin = size / parameter->shape[0] * first;
    parameter->replicas.push_back({.group = &group, .elements = {begin, size}, .is_partial = true});
  }
}

void Linear::forward(Tensor y_NO, Tensor x_NI, Stream stream) const {
  if (kind_ == LinearSplit::Kind::kInputs) {
    const std::int64_t rows = x_NI.dim(0);
    linear_forward(ranks_.partial(y_NO, rows), x_NI, weight_.operand, ranks_.rank() == 0 ? bias() : Tensor(),
                   stream);
    ranks_.sum(y_NO, rows, stream);
    return;
  }
  linear_forward(y_NO, ranks_.gather(x_NI, y_NO.dim(0), stream), weight_.operand, bias(), stream);
}

void Linear::forward(Tensor y_NO, Tensor preactivation_NO, Tensor x_NI, Activation activation,
                     Stream stream) const {
  CHECK(kind_ != LinearSplit::Kind::kInputs);
  linear_activation_forward(y_NO, preactivation_NO, ranks_.gather(x_NI, y_NO.dim(0), stream), weight_.operand,
                            bias(), activation, stream);
}

void Linear::backward_outputs(Tensor dx_NI, Tensor dy_NO, Tensor x_NI, Stream stream,
                              const Deferral& deferral) const {
  const std::int64_t rows = dy_NO.dim(0);
  TensorRanks::Gathering x;
  if (deferral.queue == nullptr) x = ranks_.begin_gather(x_NI, rows, stream);
  linear_backward(ranks_.partial(dx_NI, rows), {}, {}, dy_NO, ranks_.gathered(x_NI, rows), weight_.operand,
                  stream);
  const Communicator::Ticket sum = ranks_.begin_sum(dx_NI, rows, stream);
  ranks_.wait(x.ticket, stream);
  if (deferral.queue == nullptr)
    linear_backward({}, dweight(), dbias(), dy_NO, x.rows, weight_.operand, stream);
  ranks_.wait(sum, stream);
}

void Linear::backward(Tensor dx_NI, Tensor dy_NO, Tensor x_NI, GradientReducer& reducer, Stream stream,
                      const Deferral& deferral) const {
  switch (kind_) {
    case LinearSplit::Kind::kNone:
      linear_backward(dx_NI, dweight(deferral), dbias(deferral), dy_NO, x_NI, weight_.operand, stream);
      break;
    case LinearSplit::Kind::kOutputs:
      backward_outputs(dx_NI, dy_NO, x_NI, stream, deferral);
      break;
    case LinearSplit::Kind::kInputs:
      linear_backward(dx_NI, dweight(deferral), dbias(deferral), ranks_.gather(dy_NO, x_NI.dim(0), stream),
                      x_NI, weight_.operand, stream);
      break;
  }
  end_backward(dy_NO, x_NI, reducer, stream, deferral);
}

void Linear::backward_through(Tensor dx_NI, Tensor dy_NO, Tensor x_NI, Tensor preactivation_NI,
                              Activation activation, GradientReducer& reducer, Stream stream,
                              const Deferral& deferral) const {
  CHECK(kind_ != LinearSplit::Kind::kOutputs);
  const Tensor dy = kind_ == LinearSplit::Kind::kInputs ? ranks_.gather(dy_NO, x_NI.dim(0), stream) : dy_NO;
  linear_backward_through(dx_NI, dweight(deferral), dbias(deferral), dy, x_NI, weight_.operand,
                          preactivation_NI, activation, stream);
  end_backward(dy_NO, x_NI, reducer, stream, deferral);
}

void Linear::backward_weight(Tensor dy_NO, Tensor x_NI, GradientReducer& reducer, Stream stream) const {
  Tensor dy = dy_NO, x = x_NI;
  if (kind_ == LinearSplit::Kind::kOutputs) x = ranks_.gather(x_NI, dy_NO.dim(0), stream);
  if (kind_ == LinearSplit::Kind::kInputs) dy = ranks_.gather(dy_NO, x_NI.dim(0), stream);
  linear_backward({}, dweight(), dbias(), dy, x, weight_.operand, stream);
  mark_ready(reducer, stream);
}

void Linear::mark_ready(GradientReducer& reducer, Stream stream) const {
  if (bias_ != nullptr) reducer.mark_ready(*bias_, stream);
  reducer.mark_ready(weight_, stream);
}

void Linear::end_backward(Tensor dy_NO, Tensor x_NI, GradientReducer& reducer, Stream stream,
                          const Deferral& deferral) const {
  if (deferral.queue == nullptr) return mark_ready(reducer, stream);
  const Tensor kept = deferral.dy_NO.slice(0, 0, dy_NO.dim(0));
  if (kept.raw_data() != dy_NO.raw_data()) copy(kept, dy_NO, stream);
  deferral.queue->add(*this, kept, x_NI);
}

}  // namespace trireme
