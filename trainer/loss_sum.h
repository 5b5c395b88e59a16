// A loss that is added up where the model computes.
#pragma once

#include "kernels/buffer.h"
#include "kernels/elementwise.h"
#include "kernels/host_copy.h"
#include "parallel/communicator.h"

namespace trireme {

class LossSum {
 public:
  // Zero.
  explicit LossSum(Stream stream)
      : stream_(stream),
        memory_(size_bytes(DType::kFloat32), stream.device()),
        sum_1_(memory_.tensor(DType::kFloat32, {1})) {
    fill(sum_1_, 0.0F, stream);
  }

  Tensor tensor() const { return sum_1_; }
  // Of all ranks, which all call it.  Waits for it.
  double over(Communicator& ranks) const {
    float sum = host_copy<float>(sum_1_, stream_).front();
    ranks.wait(ranks.all_reduce({&sum, DType::kFloat32, {1}}, ReduceOp::kSum, {}), {});
    return sum;
  }

 private:
  Stream stream_;
  Buffer memory_;
  Tensor sum_1_;
};

}  // namespace trireme
