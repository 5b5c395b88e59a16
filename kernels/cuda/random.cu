#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/philox.cuh"
#include "kernels/random.h"

namespace trireme::cuda {
namespace {

__device__ float uniform(unsigned bits) {
  return static_cast<float>(bits >> 8) * 0x1.0p-24f;
}

// One of a pair of normal numbers (see normals() of kernels/rng.h), times stddev.
__device__ float normal(unsigned bits_of_radius, unsigned bits_of_angle, bool is_second, float stddev) {
  const double radius = sqrt(-2.0 * log(1.0 - static_cast<double>(uniform(bits_of_radius))));
  const double half_turns = 2.0 * static_cast<double>(uniform(bits_of_angle));
  const double side = is_second ? sinpi(half_turns) : cospi(half_turns);
  return stddev * static_cast<float>(radius * side);
}

__global__ void __launch_bounds__(kFlatThreads)
    draw(float* x, float stddev, std::uint64_t key, std::int64_t first_index, std::int64_t n) {
  for_each_pack<1>(n, [=]<int>(std::int64_t i) {
    const std::int64_t index = first_index + i;
    const uint4 bits = philox(key, static_cast<std::uint64_t>(index / 4));
    const bool upper = index % 4 >= 2;
    x[i] = normal(upper ? bits.z : bits.x, upper ? bits.w : bits.y, index % 2 == 1, stddev);
  });
}

}  // namespace

void fill_normal(Tensor x, float stddev, std::uint64_t key, std::int64_t first_index, Stream stream) {
  const std::int64_t n = x.num_elements();
  launch(draw, flat_grid(n, 1), stream, x.data<float>(), stddev, key, first_index, n);
}

}  // namespace trireme::cuda
