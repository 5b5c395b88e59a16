// A product by cuBLASLt, at once or captured in a graph, or with operands that are not what they should be:
// the argument says which.
#include <cstdio>
#include <cstring>
#include <vector>

#include <cublasLt.h>

#include "program.h"

namespace {

constexpr int kSize = 64;
constexpr size_t kBytes = kSize * kSize * sizeof(float);

struct Product {
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDescOpaque_t operation = {};
  cublasLtMatrixLayoutOpaque_t layout = {};

  Product() {
    cublasLtCreate(&handle);
    cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatrixLayoutInit(&layout, CUDA_R_32F, kSize, kSize, kSize);
  }

  cublasStatus_t run(float* d, const float* a, const float* b, const cublasLtMatmulAlgo_t* algorithm,
                     cudaStream_t stream) {
    const float one = 1, zero = 0;
    return cublasLtMatmul(handle, &operation, &one, a, &layout, b, &layout, &zero, d, &layout, d, &layout,
                          algorithm, nullptr, 0, stream);
  }
};

float* ones_on(cudaStream_t stream) {
  float* data = nullptr;
  cudaMalloc(reinterpret_cast<void**>(&data), kBytes);
  const std::vector<float> ones(kSize * kSize, 1.0f);
  cudaMemcpyAsync(data, ones.data(), kBytes, cudaMemcpyHostToDevice, stream);
  return data;
}

}  // namespace

int main(int argc, char** argv) {
  const char* const mistake = argc > 1 ? argv[1] : "";
  cudaStream_t stream, other;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
  Product product;
  float* const a = ones_on(stream);
  float* b = ones_on(std::strcmp(mistake, "missing_event") == 0 ? other : stream);
  float* d = ones_on(stream);
  if (std::strcmp(mistake, "uninitialised") == 0) {
    cudaFree(b);
    cudaMalloc(reinterpret_cast<void**>(&b), kBytes);
  }
  std::vector<float> host(kSize * kSize, 1.0f);
  const float* const second = std::strcmp(mistake, "host_pointer") == 0 ? host.data() : b;
  float* const result = std::strcmp(mistake, "beyond") == 0 ? d + 1 : d;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  const auto run = [&] { status = product.run(result, a, second, nullptr, stream); };
  if (std::strcmp(mistake, "captured") == 0) {
    const cudaGraphExec_t graph = captured(stream, run);
    CUDA(cudaGraphLaunch(graph, stream));
    CUDA(cudaGraphExecDestroy(graph));
  } else {
    run();
  }
  cudaMemcpyAsync(host.data(), d, kBytes, cudaMemcpyDeviceToHost, stream);
  cudaStreamSynchronize(stream);
  cudaStreamSynchronize(other);
  for (float* memory : {a, b, d}) cudaFree(memory);
  cudaStreamDestroy(stream);
  cudaStreamDestroy(other);

  // An algorithm for other shapes is refused.
  cublasLtMatmulAlgo_t none = {};
  const cublasStatus_t refused = product.run(d, a, b, &none, nullptr);
  const bool is_fine = status == CUBLAS_STATUS_SUCCESS && refused == CUBLAS_STATUS_INVALID_VALUE &&
                       host[0] == kSize && host.back() == kSize;
  std::puts(is_fine ? "fine" : "wrong");
  return is_fine ? 0 : 1;
}
