#include "kernels/cuda/speed_of_light.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>
#include <glog/logging.h>

#include "kernels/buffer.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/gpu_table.h"
#include "kernels/cuda/stream_state.h"
#include "kernels/cuda/timing.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/rng.h"

namespace trireme::cuda {
namespace {

constexpr std::int64_t kSmallest = 128;
constexpr std::int64_t kLargest = 8192;
constexpr double kEnoughMs = 10.0;
constexpr int kRepetitions = 10;

cudaDeviceProp properties_of(Device device) {
  cudaDeviceProp properties;
  TRIREME_CUDA(cudaGetDeviceProperties(&properties, device.index));
  return properties;
}

// Normal numbers, in each row the next ones of a sequence: of zeros a product is quicker than of anything
// that is trained on.
void fill_with_noise(Tensor x_NN, Stream stream) {
  const std::int64_t n = x_NN.dim(0);
  std::vector<float> sequence(static_cast<std::size_t>(2 * n));
  for (std::size_t i = 0; i < sequence.size(); i += 4) {
    std::ranges::copy(normals(1, i / 4), sequence.begin() + static_cast<std::ptrdiff_t>(i));
  }
  std::vector<Bfloat16> rounded(sequence.begin(), sequence.end());
  void* const data = x_NN.dtype() == DType::kFloat32 ? static_cast<void*>(sequence.data()) : rounded.data();
  const Tensor values(data, x_NN.dtype(), {1, 2 * n});
  for (std::int64_t i = 0; i < n; ++i) copy(x_NN.slice(0, i, i + 1), values.slice(1, i, i + n), stream);
  stream.synchronize();
}

// The best time of a product of that size.
double best_ms(std::int64_t n, DType dtype, const DeviceStream& stream, int repetitions) {
  const Device device = Stream(stream).device();
  const Buffer memory(3 * n * n * size_bytes(dtype), device);
  const auto matrix = [&](int i) { return memory.tensor(dtype, {n, n}, i * n * n * size_bytes(dtype)); };
  fill_with_noise(matrix(1), stream);
  fill_with_noise(matrix(2), stream);
  const auto product = [&] { matmul(matrix(0), matrix(1), matrix(2), {.transpose_b = true}, stream); };
  product();  // which chooses an algorithm
  double best = elapsed_ms(product, stream);
  for (int i = 1; i < repetitions; ++i) best = std::min(best, elapsed_ms(product, stream));
  return best;
}

double find_peak(Device device, DType dtype) {
  const cudaDeviceProp properties = properties_of(device);
  if (const auto documented = documented_flops(properties.name, properties.multiProcessorCount, dtype))
    return *documented;
  const double measured = measured_flops(device, dtype);
  LOG(INFO) << device_words(device) << " is not in the table of GPUs: shares of its peak are shares of "
            << measured * 1e-12 << " TFLOP/s in " << name(dtype) << ", measured by a matrix product";
  return measured;
}

}  // namespace

double measured_flops(Device device, DType dtype) {
  make_current(device);
  std::size_t free = 0;
  std::size_t total = 0;
  TRIREME_CUDA(cudaMemGetInfo(&free, &total));
  const auto fits = [&](std::int64_t n) {
    return 3 * n * n * size_bytes(dtype) <= static_cast<std::int64_t>(free / 4);
  };
  const DeviceStream stream(device);
  std::int64_t n = kSmallest;
  while (2 * n <= kLargest && fits(2 * n) && best_ms(n, dtype, stream, 1) < kEnoughMs / 8) n *= 2;
  const double ms = best_ms(n, dtype, stream, kRepetitions);
  CHECK_GT(ms, 0.0) << "a product took no time";
  return 2e3 * static_cast<double>(n * n) * static_cast<double>(n) / ms;
}

double peak_flops(Device device, DType dtype) {
  static std::mutex mutex;
  static std::map<std::pair<int, DType>, double> found;
  const std::lock_guard lock(mutex);
  const auto [place, is_new] = found.try_emplace({device.index, dtype});
  if (is_new) place->second = find_peak(device, dtype);
  return place->second;
}

std::string device_words(Device device) {
  const cudaDeviceProp properties = properties_of(device);
  return std::string(properties.name) + ", " + std::to_string(properties.multiProcessorCount) + " SMs, " +
         std::to_string(properties.totalGlobalMem >> 30) + " GiB";
}

}  // namespace trireme::cuda
