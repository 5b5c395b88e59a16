// Attention on a CUDA device, bfloat16, beside cuDNN's: one table over the sizes that papers use, 16 Ki
// tokens and a model of width 2048 in each row.
//
//     attention_cuda_benchmark            on a GPU
//     attention_cuda_benchmark --smoke    two small rows, to see that it works: the virtual GPU knows nothing
//     of time
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>

#include "kernels/attention.h"
#include "kernels/buffer.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/stream_state.h"
#include "kernels/rng.h"
#include "tests/benchmarks/cudnn_attention.h"

namespace trireme {
namespace {

constexpr Device kGpu{DeviceType::kCuda, 0};

struct Row {
  std::int64_t batch, sequence, heads, width;
  bool causal;
};

// Milliseconds of one call: the median of `repetitions`, after a first one that isn't counted.
double time_ms(const std::function<void()>& call, cudaStream_t stream, int repetitions) {
  cudaEvent_t begin = nullptr, end = nullptr;
  TRIREME_CUDA(cudaEventCreate(&begin));
  TRIREME_CUDA(cudaEventCreate(&end));
  std::vector<float> times;
  for (int i = 0; i <= repetitions; ++i) {
    TRIREME_CUDA(cudaEventRecord(begin, stream));
    call();
    TRIREME_CUDA(cudaEventRecord(end, stream));
    TRIREME_CUDA(cudaEventSynchronize(end));
    float ms = 0.0F;
    TRIREME_CUDA(cudaEventElapsedTime(&ms, begin, end));
    if (i > 0) times.push_back(ms);
  }
  TRIREME_CUDA(cudaEventDestroy(begin));
  TRIREME_CUDA(cudaEventDestroy(end));
  std::nth_element(times.begin(), times.begin() + repetitions / 2, times.end());
  return times[static_cast<std::size_t>(repetitions / 2)];
}

class Operands {
 public:
  explicit Operands(const Row& row) {
    const Shape shape = {row.batch, row.sequence, row.heads, row.width};
    for (Tensor* x : {&all.q_BTHD, &all.k_BTHD, &all.v_BTHD, &all.dout_BTHD}) *x = random(shape);
    for (Tensor* x : {&all.out_BTHD, &all.dq_BTHD, &all.dk_BTHD, &all.dv_BTHD})
      *x = make(DType::kBfloat16, shape);
    all.lse_BHT = make(DType::kFloat32, {row.batch, row.heads, row.sequence});
  }

  CudnnOperands all;

 private:
  Tensor make(DType dtype, const Shape& shape) {
    buffers_.emplace_back(shape.num_elements() * size_bytes(dtype), kGpu);
    return buffers_.back().tensor(dtype, shape);
  }
  Tensor random(const Shape& shape) {
    const Tensor x = make(DType::kBfloat16, shape);
    std::vector<Bfloat16> host(static_cast<std::size_t>(x.num_elements()));
    for (std::size_t i = 0; i < host.size(); i += 4) {
      const auto four = normals(buffers_.size(), i / 4);
      for (std::size_t j = 0; j < 4; ++j) host[i + j] = Bfloat16(four[j]);
    }
    TRIREME_CUDA(
        cudaMemcpy(x.raw_data(), host.data(), host.size() * sizeof(Bfloat16), cudaMemcpyHostToDevice));
    return x;
  }

  std::vector<Buffer> buffers_;
};

// TFLOP/s, cuDNN's and the ratio, or a dash.
void print(double flops, double ours_ms, double cudnn_ms) {
  std::printf(" | %7.1f", flops / ours_ms * 1e-9);
  if (cudnn_ms > 0.0) {
    std::printf(" %7.1f %6.2f", flops / cudnn_ms * 1e-9, cudnn_ms / ours_ms);
  } else {
    std::printf(" %7s %6s", "-", "-");
  }
}

void measure(const Row& row, int repetitions, std::string* why_not) {
  const DeviceStream stream(kGpu);
  cudaStream_t const handle = Stream(stream).cuda()->handle();
  const Operands operands(row);
  const CudnnOperands& x = operands.all;
  const AttentionOptions options{.scale = 1.0F / std::sqrt(static_cast<float>(row.width)),
                                 .causal = row.causal};
  const double forward_ms = time_ms(
      [&] { attention_forward(x.out_BTHD, x.lse_BHT, x.q_BTHD, x.k_BTHD, x.v_BTHD, options, stream); },
      handle, repetitions);
  const double backward_ms = time_ms(
      [&] {
        attention_backward(x.dq_BTHD, x.dk_BTHD, x.dv_BTHD, x.dout_BTHD, x.out_BTHD, x.lse_BHT, x.q_BTHD,
                           x.k_BTHD, x.v_BTHD, options, stream);
      },
      handle, repetitions);
  double cudnn_forward_ms = 0.0, cudnn_backward_ms = 0.0;
  if (const auto cudnn = CudnnAttention::make(x, row.causal, options.scale, handle, why_not)) {
    cudnn_forward_ms = time_ms([&] { cudnn->forward(); }, handle, repetitions);
    cudnn_backward_ms = time_ms([&] { cudnn->backward(); }, handle, repetitions);
  }
  // Two products forward, five backward; a causal mask leaves half of them.
  const double product = 2.0 * static_cast<double>(row.batch * row.heads * row.width) *
                         static_cast<double>(row.sequence * row.sequence) * (row.causal ? 0.5 : 1.0);
  std::printf("%4lld %6lld %3lld %-6s", static_cast<long long>(row.width),
              static_cast<long long>(row.sequence), static_cast<long long>(row.batch),
              row.causal ? "causal" : "full");
  print(2.0 * product, forward_ms, cudnn_forward_ms);
  print(5.0 * product, backward_ms, cudnn_backward_ms);
  std::printf("\n");
  std::fflush(stdout);
}

int run(bool smoke) {
  if (num_devices(DeviceType::kCuda) == 0) {
    std::fprintf(stderr, "attention_cuda_benchmark: there is no CUDA device\n");
    return 2;
  }
  cudaDeviceProp properties{};
  TRIREME_CUDA(cudaGetDeviceProperties(&properties, 0));
  std::printf("%s, bfloat16, TFLOP/s (median)\n", properties.name);
  std::printf("   D      T   B mask   | forward   cuDNN  ratio | backward  cuDNN  ratio\n");
  std::string why_not;
  for (const std::int64_t width : {64, 128}) {
    for (const bool causal : {false, true}) {
      if (smoke) {
        measure({1, 96, 1, width, causal}, 1, &why_not);
        continue;
      }
      for (std::int64_t sequence = 512; sequence <= 16384; sequence *= 2) {
        measure({16384 / sequence, sequence, 2048 / width, width, causal}, 20, &why_not);
      }
    }
  }
  if (!why_not.empty()) std::printf("cuDNN is left out: %s\n", why_not.c_str());
  return 0;
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  return trireme::run(argc > 1 && std::strcmp(argv[1], "--smoke") == 0);
}
