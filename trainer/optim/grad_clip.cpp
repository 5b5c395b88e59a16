#include "trainer/optim/grad_clip.h"

#include <cmath>
#include <utility>

#include "kernels/elementwise.h"
#include "kernels/reduce.h"

namespace trireme {

GradientClip::GradientClip(double max_norm) : GradientClip(max_norm, {}, {}) {
  counts_all_ = true;
}

GradientClip::GradientClip(double max_norm, std::vector<FlatRange> counted, std::vector<Communicator*> groups)
    : max_norm_(max_norm),
      counts_all_(false),
      counted_(std::move(counted)),
      groups_(std::move(groups)),
      memory_(2 * size_bytes(DType::kFloat32)) {
  sum_of_squares_ = memory_.tensor(DType::kFloat32, {1});
  scale_ = memory_.tensor(DType::kFloat32, {1}, size_bytes(DType::kFloat32));
}

double GradientClip::measure(Tensor gradients, Stream stream) {
  fill(sum_of_squares_, 0.0F, stream);
  if (counts_all_) accumulate_sum_of_squares(sum_of_squares_, gradients, stream);
  for (const FlatRange& range : counted_) {
    accumulate_sum_of_squares(sum_of_squares_, gradients.slice(0, range.begin, range.end), stream);
  }
  for (Communicator* const group : groups_) {
    group->wait(group->all_reduce(sum_of_squares_, ReduceOp::kSum, stream), stream);
  }
  const double norm = std::sqrt(static_cast<double>(*sum_of_squares_.data<float>()));
  const double scale = max_norm_ > 0.0 && norm > max_norm_ ? max_norm_ / norm : 1.0;
  fill(scale_, static_cast<float>(scale), stream);
  return norm;
}

}  // namespace trireme
