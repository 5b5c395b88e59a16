#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/runtime.h"
#include "kernels/elementwise.h"

namespace trireme::cuda {
namespace {

// Two tensors of one shape as runs of bytes, in as few dimensions as their strides allow: [dims..., run].
struct Runs {
  int num_dims = 0;  // beside that of a run
  std::int64_t run_bytes = 0;
  std::int64_t num_runs = 1;
  // Outermost first; strides in bytes.
  std::int64_t size[Shape::kMaxDims] = {};
  std::int64_t to_stride[Shape::kMaxDims] = {};
  std::int64_t from_stride[Shape::kMaxDims] = {};
};

Runs runs_of(const Tensor& to, const Tensor& from) {
  const std::int64_t element_bytes = size_bytes(to.dtype());
  Runs runs{.run_bytes = element_bytes * (to.num_dims() > 0 ? to.dim(to.num_dims() - 1) : 1)};
  // Inner dimensions first, each joined to the one within if rows of both tensors follow each other.
  for (int dim = to.num_dims() - 2; dim >= 0; --dim) {
    if (to.dim(dim) == 1) continue;
    const std::int64_t to_stride = to.stride(dim) * element_bytes;
    const std::int64_t from_stride = from.stride(dim) * element_bytes;
    const int inner = runs.num_dims - 1;
    if (inner < 0 && to_stride == runs.run_bytes && from_stride == runs.run_bytes) {
      runs.run_bytes *= to.dim(dim);
      continue;
    }
    runs.num_runs *= to.dim(dim);
    if (inner >= 0 && to_stride == runs.to_stride[inner] * runs.size[inner] &&
        from_stride == runs.from_stride[inner] * runs.size[inner]) {
      runs.size[inner] *= to.dim(dim);
      continue;
    }
    runs.size[runs.num_dims] = to.dim(dim);
    runs.to_stride[runs.num_dims] = to_stride;
    runs.from_stride[runs.num_dims] = from_stride;
    ++runs.num_dims;
  }
  std::reverse(runs.size, runs.size + runs.num_dims);
  std::reverse(runs.to_stride, runs.to_stride + runs.num_dims);
  std::reverse(runs.from_stride, runs.from_stride + runs.num_dims);
  return runs;
}

// Between the host and a device: a transfer for each index of the dimensions before the last.
void transfer(char* to, const char* from, const Runs& runs, int dim, const StreamState& stream) {
  if (dim + 1 < runs.num_dims) {
    for (std::int64_t i = 0; i < runs.size[dim]; ++i) {
      transfer(to + i * runs.to_stride[dim], from + i * runs.from_stride[dim], runs, dim + 1, stream);
    }
  } else if (dim < runs.num_dims) {
    copy_rows(to, runs.to_stride[dim], from, runs.from_stride[dim], runs.run_bytes, runs.size[dim], stream);
  } else {
    copy_rows(to, runs.run_bytes, from, runs.run_bytes, runs.run_bytes, 1, stream);
  }
}

constexpr unsigned kThreads = 256;

// A row of threads for each run; Word is what one copies at a time.
template <typename Word>
__global__ void __launch_bounds__(kThreads) copy_runs(char* to, const char* from, const Runs runs) {
  std::int64_t run = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (run >= runs.num_runs) return;
    // Unrolled, so that the sizes stay parameters.
#pragma unroll
  for (int dim = Shape::kMaxDims - 1; dim >= 0; --dim) {
    if (dim >= runs.num_dims) continue;
    // Run numbers are below 2^32 as a rule, and divisions of 64 bits slow.
    const std::int64_t size = runs.size[dim];
    const std::int64_t rest =
        (run | size) >> 32 == 0 ? static_cast<unsigned>(run) / static_cast<unsigned>(size) : run / size;
    const std::int64_t index = run - rest * size;
    to += index * runs.to_stride[dim];
    from += index * runs.from_stride[dim];
    run = rest;
  }
  const std::int64_t num_words = runs.run_bytes / static_cast<int>(sizeof(Word));
  for (std::int64_t i = threadIdx.x; i < num_words; i += blockDim.x) {
    reinterpret_cast<Word*>(to)[i] = reinterpret_cast<const Word*>(from)[i];
  }
}

template <typename Word>
void launch_copy_runs(char* to, const char* from, const Runs& runs, const Stream& stream) {
  unsigned across = 1;
  while (across < kThreads && across * sizeof(Word) < static_cast<std::size_t>(runs.run_bytes)) across *= 2;
  const unsigned runs_of_block = kThreads / across;
  launch(copy_runs<Word>, {divide_up(runs.num_runs, runs_of_block), dim3(across, runs_of_block)}, stream, to,
         from, runs);
}

}  // namespace

void copy(Tensor y, Tensor x, Stream stream) {
  if (x.num_elements() == 0) return;
  const Runs runs = runs_of(y, x);
  auto* const to = static_cast<char*>(y.raw_data());
  const auto* const from = static_cast<const char*>(x.raw_data());
  if (runs.num_dims == 0 || y.device() != x.device()) {
    make_current(stream.device());
    return transfer(to, from, runs, 0, *stream.cuda());
  }
  // All that must be a multiple of a word.
  std::uintptr_t multiple = reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from) |
                            static_cast<std::uintptr_t>(runs.run_bytes);
  for (int dim = 0; dim < runs.num_dims; ++dim) {
    multiple |= static_cast<std::uintptr_t>(runs.to_stride[dim] | runs.from_stride[dim]);
  }
  if (multiple % 16 == 0) {
    launch_copy_runs<uint4>(to, from, runs, stream);
  } else if (multiple % 4 == 0) {
    launch_copy_runs<unsigned>(to, from, runs, stream);
  } else {
    launch_copy_runs<unsigned short>(to, from, runs, stream);
  }
}

}  // namespace trireme::cuda
