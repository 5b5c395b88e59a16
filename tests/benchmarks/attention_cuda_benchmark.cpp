// Attention on a CUDA device, bfloat16, beside cuDNN's: one table over the sizes that papers use, 16 Ki
// tokens and a model of width 2048 in each row.  Where cuDNN has no plan, or there is no cuDNN, the log says
// so and its columns are of our kernels, too.
//
//     attention_cuda_benchmark            on a GPU
//     attention_cuda_benchmark --smoke    two small rows, to see that it works: the virtual GPU knows nothing
//     of time
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>

#include <cuda_runtime_api.h>

#include "kernels/attention.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/stream_state.h"
#include "kernels/cuda/timing.h"
#include "tests/benchmarks/device_operands.h"

namespace trireme {
namespace {

constexpr Device kGpu{DeviceType::kCuda, 0};

struct Row {
  std::int64_t batch, sequence, heads, width;
  bool causal;
};

class Operands {
 public:
  explicit Operands(const Row& row) {
    const Shape shape = {row.batch, row.sequence, row.heads, row.width};
    for (Tensor* x : {&all.q_BTHD, &all.k_BTHD, &all.v_BTHD, &all.dout_BTHD})
      *x = make_.noise(DType::kBfloat16, shape);
    for (Tensor* x : {&all.out_BTHD, &all.dq_BTHD, &all.dk_BTHD, &all.dv_BTHD})
      *x = make_.zeros(DType::kBfloat16, shape);
    all.lse_BHT = make_.zeros(DType::kFloat32, {row.batch, row.heads, row.sequence});
  }

  struct {
    Tensor out_BTHD, lse_BHT, q_BTHD, k_BTHD, v_BTHD;  // bfloat16, lse float32
    Tensor dq_BTHD, dk_BTHD, dv_BTHD, dout_BTHD;
  } all;

 private:
  DeviceOperands make_{kGpu};
};

// TFLOP/s, cuDNN's and the ratio.
void print(double flops, double ours_ms, double cudnn_ms) {
  std::printf(" | %7.1f %7.1f %6.2f", flops / ours_ms * 1e-9, flops / cudnn_ms * 1e-9, cudnn_ms / ours_ms);
}

void measure(const Row& row, int repetitions) {
  const DeviceStream stream(kGpu);
  const Operands operands(row);
  const auto& x = operands.all;
  AttentionOptions options{.scale = 1.0F / std::sqrt(static_cast<float>(row.width)), .causal = row.causal};
  const auto forward = [&] {
    attention_forward(x.out_BTHD, x.lse_BHT, x.q_BTHD, x.k_BTHD, x.v_BTHD, options, stream);
  };
  const auto backward = [&] {
    attention_backward(x.dq_BTHD, x.dk_BTHD, x.dv_BTHD, x.dout_BTHD, x.out_BTHD, x.lse_BHT, x.q_BTHD,
                       x.k_BTHD, x.v_BTHD, options, stream);
  };
  const double forward_ms = cuda::time_ms(forward, stream, repetitions);
  const double backward_ms = cuda::time_ms(backward, stream, repetitions);
  options.library = AttentionLibrary::kCudnn;
  const double cudnn_forward_ms = cuda::time_ms(forward, stream, repetitions);
  const double cudnn_backward_ms = cuda::time_ms(backward, stream, repetitions);
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
  for (const std::int64_t width : {64, 128}) {
    for (const bool causal : {false, true}) {
      if (smoke) {
        measure({1, 96, 1, width, causal}, 1);
        continue;
      }
      for (std::int64_t sequence = 512; sequence <= 16384; sequence *= 2) {
        measure({16384 / sequence, sequence, 2048 / width, width, causal}, 20);
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  return trireme::run(argc > 1 && std::strcmp(argv[1], "--smoke") == 0);
}
