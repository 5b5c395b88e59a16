#include "kernels/cuda/cublas_lt.h"

#include <algorithm>
#include <array>
#include <compare>
#include <map>
#include <mutex>
#include <optional>

#include <cublasLt.h>
#include <glog/logging.h>

#include "kernels/cuda/check.h"
#include "kernels/cuda/stream_state.h"

namespace trireme::cuda {
namespace {

// What the algorithms may use for intermediate results; as much as NVIDIA advises for an H100.
constexpr std::int64_t kWorkspaceBytes = std::int64_t{32} << 20;
constexpr int kVectorBytes = 16;

#define TRIREME_CUBLAS(call, context)                                             \
  do {                                                                            \
    const cublasStatus_t trireme_status = (call);                                 \
    CHECK(trireme_status == CUBLAS_STATUS_SUCCESS)                                \
        << #call << ": " << cublasLtGetStatusString(trireme_status) << (context); \
  } while (false)

cudaDataType_t type_of(const Tensor& x) {
  return x.dtype() == DType::kBfloat16 ? CUDA_R_16BF : CUDA_R_32F;
}

// Of an address: what it is a multiple of, up to what algorithms ask about.
std::uint32_t alignment_of(const Tensor& x) {
  constexpr std::uintptr_t kMost = 256;
  const auto address = reinterpret_cast<std::uintptr_t>(x.raw_data());
  return static_cast<std::uint32_t>(std::min(kMost, address & -address));
}

// A matrix as cuBLASLt sees it, which stores columns one after another: rows and columns change places.
struct Operand {
  cudaDataType_t type = CUDA_R_32F;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;
  std::uint32_t alignment = 0;

  explicit Operand(const Tensor& x)
      : type(type_of(x)),
        rows(x.dim(1)),
        columns(x.dim(0)),
        stride(x.stride(0)),
        alignment(alignment_of(x)) {}
  auto operator<=>(const Operand&) const = default;

  cublasLtMatrixLayoutOpaque_t layout() const {
    cublasLtMatrixLayoutOpaque_t layout;
    TRIREME_CUBLAS(cublasLtMatrixLayoutInit(&layout, type, static_cast<std::uint64_t>(rows),
                                            static_cast<std::uint64_t>(columns), stride),
                   "");
    return layout;
  }
};

// All that an algorithm may depend on.  As c^T = b^T a^T, b comes first.
struct Problem {
  int device = 0;
  Operand first;
  Operand second;
  Operand result;
  bool transpose_first = false;
  bool transpose_second = false;
  bool accumulate = false;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  std::uint32_t bias_alignment = 0;
  std::int64_t auxiliary_stride = 0;

  auto operator<=>(const Problem&) const = default;
};

cublasLtEpilogue_t epilogue_of(const Product& product) {
  switch (product.epilogue) {
    case Epilogue::kNone:
      return CUBLASLT_EPILOGUE_DEFAULT;
    case Epilogue::kBias:
      return CUBLASLT_EPILOGUE_BIAS;
    case Epilogue::kGelu: {
      int epilogue = CUBLASLT_EPILOGUE_GELU;
      if (product.preactivation_MN) epilogue |= CUBLASLT_EPILOGUE_GELU_AUX;
      if (product.bias) epilogue |= CUBLASLT_EPILOGUE_BIAS;
      return static_cast<cublasLtEpilogue_t>(epilogue);
    }
    case Epilogue::kGeluGradient:
      return CUBLASLT_EPILOGUE_DGELU;
    case Epilogue::kBiasGradient:
      return CUBLASLT_EPILOGUE_BGRADB;
  }
  LOG(FATAL) << "no such epilogue";
}

Problem problem_of(const Product& product, const Stream& stream) {
  return {
      .device = stream.device().index,
      .first = Operand(product.b),
      .second = Operand(product.a),
      .result = Operand(product.c_MN),
      .transpose_first = product.options.transpose_b,
      .transpose_second = product.options.transpose_a,
      .accumulate = product.options.accumulate,
      .epilogue = epilogue_of(product),
      .bias_alignment = product.bias ? alignment_of(product.bias) : 0,
      .auxiliary_stride = product.preactivation_MN ? product.preactivation_MN.stride(0) : 0,
  };
}

std::string words(const Problem& problem) {
  return ", of [" + std::to_string(problem.result.columns) + ", " + std::to_string(problem.result.rows) +
         "] = [" + std::to_string(problem.second.columns) + ", " + std::to_string(problem.second.rows) +
         "] [" + std::to_string(problem.first.columns) + ", " + std::to_string(problem.first.rows) +
         "], epilogue " + std::to_string(problem.epilogue);
}

template <typename T>
void set(cublasLtMatmulDescOpaque_t& operation, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  TRIREME_CUBLAS(cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof value), "");
}

cublasLtMatmulDescOpaque_t operation_of(const Problem& problem, const Product& product) {
  cublasLtMatmulDescOpaque_t operation;
  TRIREME_CUBLAS(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "");
  set(operation, CUBLASLT_MATMUL_DESC_TRANSA, problem.transpose_first ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(operation, CUBLASLT_MATMUL_DESC_TRANSB, problem.transpose_second ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, problem.epilogue);
  if (product.bias) set(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, product.bias.raw_data());
  if (product.preactivation_MN) {
    set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, product.preactivation_MN.raw_data());
    set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, problem.auxiliary_stride);
  }
  return operation;
}

// One for each device, made when it is first asked for.
cublasLtHandle_t handle_of(Device device) {
  static std::mutex mutex;
  static std::map<int, cublasLtHandle_t> handles;
  const std::lock_guard lock(mutex);
  cublasLtHandle_t& handle = handles[device.index];
  if (handle == nullptr) TRIREME_CUBLAS(cublasLtCreate(&handle), "");
  return handle;
}

struct Layouts {
  cublasLtMatrixLayoutOpaque_t first, second, result;
};

// Nothing, if cuBLASLt has none.
std::optional<cublasLtMatmulAlgo_t> choose_algorithm(cublasLtHandle_t handle,
                                                     cublasLtMatmulDescOpaque_t& operation, Layouts& layouts,
                                                     const Problem& problem) {
  cublasLtMatmulPreferenceOpaque_t preference;
  TRIREME_CUBLAS(cublasLtMatmulPreferenceInit(&preference), "");
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    TRIREME_CUBLAS(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof value), "");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(kWorkspaceBytes));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, problem.first.alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, problem.second.alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, problem.result.alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, problem.result.alignment);
  cublasLtMatmulHeuristicResult_t found = {};
  int num_found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle, &operation, &layouts.first, &layouts.second, &layouts.result,
                                     &layouts.result, &preference, 1, &found, &num_found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return std::nullopt;
  TRIREME_CUBLAS(status, words(problem));
  if (num_found == 0) return std::nullopt;
  return found.algo;
}

// The answer that was given before, if there is one.
std::optional<cublasLtMatmulAlgo_t> algorithm_of(cublasLtHandle_t handle,
                                                 cublasLtMatmulDescOpaque_t& operation, Layouts& layouts,
                                                 const Problem& problem) {
  static std::mutex mutex;
  static std::map<Problem, std::optional<cublasLtMatmulAlgo_t>> chosen;
  const std::lock_guard lock(mutex);
  const auto known = chosen.find(problem);
  if (known != chosen.end()) return known->second;
  return chosen.emplace(problem, choose_algorithm(handle, operation, layouts, problem)).first->second;
}

// An empty sum, which cuBLASLt has no algorithm for: of a rank without a part of the vocabulary.
void clear(const Tensor& c_MN, const Stream& stream) {
  const auto element = static_cast<std::size_t>(size_bytes(c_MN.dtype()));
  TRIREME_CUDA(cudaMemset2DAsync(c_MN.raw_data(), static_cast<std::size_t>(c_MN.stride(0)) * element, 0,
                                 static_cast<std::size_t>(c_MN.dim(1)) * element,
                                 static_cast<std::size_t>(c_MN.dim(0)), stream.cuda()->handle()));
}

}  // namespace

bool can_be_preactivation(Tensor preactivation_MN) {
  return alignment_of(preactivation_MN) >= kVectorBytes && preactivation_MN.stride(0) % 8 == 0;
}

void multiply(const Product& product, const Stream& stream) {
  CHECK(try_to_multiply(product, stream))
      << "cuBLASLt has no algorithm" << words(problem_of(product, stream));
}

bool try_to_multiply(const Product& product, const Stream& stream) {
  if (product.c_MN.num_elements() == 0) return true;
  make_current(stream.device());
  if (product.a.dim(product.options.transpose_a ? 0 : 1) == 0) {
    CHECK(product.epilogue == Epilogue::kNone || product.epilogue == Epilogue::kGeluGradient)
        << "multiply: an empty sum with an epilogue";
    if (!product.options.accumulate) clear(product.c_MN, stream);
    return true;
  }
  const Problem problem = problem_of(product, stream);
  const cublasLtHandle_t handle = handle_of(stream.device());
  cublasLtMatmulDescOpaque_t operation = operation_of(problem, product);
  Layouts layouts{problem.first.layout(), problem.second.layout(), problem.result.layout()};
  const std::optional<cublasLtMatmulAlgo_t> algorithm = algorithm_of(handle, operation, layouts, problem);
  if (!algorithm) return false;
  constexpr float kOne = 1.0F;
  const float beta = product.options.accumulate ? 1.0F : 0.0F;
  void* const c = product.c_MN.raw_data();
  StreamState& state = *stream.cuda();
  TRIREME_CUBLAS(
      cublasLtMatmul(handle, &operation, &kOne, product.b.raw_data(), &layouts.first, product.a.raw_data(),
                     &layouts.second, &beta, c, &layouts.result, c, &layouts.result, &*algorithm,
                     state.workspace(kWorkspaceBytes), kWorkspaceBytes, state.handle()),
      words(problem));
  return true;
}

}  // namespace trireme::cuda
