#include "kernels/cuda/launch.cuh"
#include "kernels/padding.h"

namespace trireme::cuda {
namespace {

__global__ void __launch_bounds__(kFlatThreads)
    mark(std::int32_t* marks, const std::int32_t* lengths, std::int64_t sequence, std::int32_t padding,
         std::int64_t n) {
  for_each_pack<1>(n, [=]<int>(std::int64_t i) {
    const std::int64_t row = i / sequence;
    marks[i] = i - row * sequence < lengths[row] ? 0 : padding;
  });
}

}  // namespace

void mark_padding(Tensor marks_BS, Tensor lengths_B, std::int32_t padding, Stream stream) {
  const std::int64_t n = marks_BS.num_elements();
  launch(mark, flat_grid(n, 1), stream, marks_BS.data<std::int32_t>(), lengths_B.data<std::int32_t>(),
         marks_BS.dim(1), padding, n);
}

}  // namespace trireme::cuda
