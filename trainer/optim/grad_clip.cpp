#include "trainer/optim/grad_clip.h"

#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/reduce.h"

namespace trireme {

GradientClip::GradientClip(double max_norm) : max_norm_(max_norm), memory_(2 * size_bytes(DType::kFloat32)) {
  sum_of_squares_ = memory_.tensor(DType::kFloat32, {1});
  scale_ = memory_.tensor(DType::kFloat32, {1}, size_bytes(DType::kFloat32));
}

double GradientClip::measure(Tensor gradients, Stream stream) {
  fill(sum_of_squares_, 0.0F, stream);
  accumulate_sum_of_squares(sum_of_squares_, gradients, stream);
  return finish(stream);
}

double GradientClip::measure(Tensor gradients, std::span<const FlatRange> owned, Communicator& model,
                             Stream stream) {
  fill(sum_of_squares_, 0.0F, stream);
  for (const FlatRange& range : owned)
    accumulate_sum_of_squares(sum_of_squares_, gradients.slice(0, range.begin, range.end), stream);
  model.wait(model.all_reduce(sum_of_squares_, ReduceOp::kSum, stream), stream);
  return finish(stream);
}

double GradientClip::finish(Stream stream) {
  const double norm = std::sqrt(static_cast<double>(*sum_of_squares_.data<float>()));
  const double scale = max_norm_ > 0.0 && norm > max_norm_ ? max_norm_ / norm : 1.0;
  fill(scale_, static_cast<float>(scale), stream);
  return norm;
}

}  // namespace trireme
