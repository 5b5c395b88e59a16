// A fully connected layer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/linear.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "trainer/model/deferred_gradients.h"
#include "trainer/model/tensor_ranks.h"

namespace trireme {

// What of a layer each rank has that shares it.
struct LinearSplit {
  enum class Kind {
    kNone,
    kOutputs,  // some outputs, of all rows: gathers rows of x (column-parallel)
    kInputs,   // some inputs, of all rows: sums what ranks have of y, and keeps its rows (row-parallel)
  };

  const TensorRanks& ranks = TensorRanks::alone();
  Kind kind = Kind::kNone;
  std::vector<FlatRange> part = {};  // of the outputs, or the inputs

  static LinearSplit outputs(const TensorRanks& ranks, std::vector<FlatRange> part) {
    return {ranks, Kind::kOutputs, std::move(part)};
  }
  static LinearSplit inputs(const TensorRanks& ranks, FlatRange part) {
    return {ranks, Kind::kInputs, {part}};
  }
};

// y = x W^T + b; weight [O, I], bias [O], which there may not be.  Of a layer that is split, what is gathered
// or summed has own rows, the other side all rows and this rank's part of the columns.
class Linear {
 public:
  // `inputs` and `outputs` are those of the whole layer.
  Linear(ParameterBuffer& parameters, const std::string& name, std::int64_t inputs, std::int64_t outputs,
         bool has_bias, float init_stddev, const LinearSplit& split = {});

  // Outputs from `first` of this rank's on that it shares with the ranks of `group`, which have the same.
  void share_outputs(Communicator& group, std::int64_t first);

  void forward(Tensor y_NO, Tensor x_NI, Stream stream) const;
  // y = activation(preactivation).  REQUIRES: inputs are not split.
  void forward(Tensor y_NO, Tensor preactivation_NO, Tensor x_NI, Activation activation, Stream stream) const;

  // Where weights wait, theirs is left to the deferral's queue, with dy in its memory, which may be dy's.
  void backward(Tensor dx_NI, Tensor dy_NO, Tensor x_NI, GradientReducer& reducer, Stream stream,
                const Deferral& deferral = {}) const;
  // The same of x = activation(preactivation): dx is the gradient before the activation.  REQUIRES: outputs
  // are not split.
  void backward_through(Tensor dx_NI, Tensor dy_NO, Tensor x_NI, Tensor preactivation_NI,
                        Activation activation, GradientReducer& reducer, Stream stream,
                        const Deferral& deferral = {}) const;
  // The deferred part.
  void backward_weight(Tensor dy_NO, Tensor x_NI, GradientReducer& reducer, Stream stream) const;

 private:
  Tensor bias() const { return bias_ != nullptr ? bias_->operand : Tensor(); }
  // Empty while they wait.
  Tensor dweight(const Deferral& deferral = {}) const {
    return deferral.queue == nullptr ? weight_.gradient : Tensor();
  }
  Tensor dbias(const Deferral& deferral = {}) const {
    return deferral.queue == nullptr && bias_ != nullptr ? bias_->gradient : Tensor();
  }
  // Of split outputs: dx, and meanwhile, if weights don't wait, the rows of x for theirs.
  void backward_outputs(Tensor dx_NI, Tensor dy_NO, Tensor x_NI, Stream stream,
                        const Deferral& deferral) const;
  void mark_ready(GradientReducer& reducer, Stream stream) const;
  // Defers, or marks what is ready.
  void end_backward(Tensor dy_NO, Tensor x_NI, GradientReducer& reducer, Stream stream,
                    const Deferral& deferral) const;

  const TensorRanks& ranks_;
  LinearSplit::Kind kind_;
  Parameter& weight_;
  Parameter* bias_ = nullptr;
};

}  // namespace trireme
