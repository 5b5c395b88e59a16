#include "trainer/optim/grad_norm.h"

#include <utility>

#include "kernels/elementwise.h"
#include "kernels/reduce.h"

namespace trireme {

GradientNorm::GradientNorm(std::vector<FlatRange> counted, std::vector<Communicator*> groups, Device device)
    : counted_(std::move(counted)),
      groups_(std::move(groups)),
      memory_(size_bytes(DType::kFloat32), device),
      sum_of_squares_(memory_.tensor(DType::kFloat32, {1})) {}

Tensor GradientNorm::squared(Tensor gradients, Stream stream) {
  fill(sum_of_squares_, 0.0F, stream);
  for (const FlatRange& range : counted_) {
    accumulate_sum_of_squares(sum_of_squares_, gradients.slice(0, range.begin, range.end), stream);
  }
  for (Communicator* const group : groups_) {
    group->wait(group->all_reduce(sum_of_squares_, ReduceOp::kSum, stream), stream);
  }
  return sum_of_squares_;
}

}  // namespace trireme
