// libcublasLt as far as our kernels call it: products of float and bf16 matrices with epilogues, executed in
// the order of their streams.  What the real library demands of shapes, strides, alignments and of an
// algorithm that is used again is demanded here, too.
#pragma GCC visibility push(default)
#include <cublasLt.h>
#pragma GCC visibility pop

#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/vgpu/cublas_lt/gemm.h"
#include "tests/vgpu/runtime/library.h"

namespace trireme::vgpu {
namespace {

// What is in the opaque structs.
struct Layout {
  cudaDataType type;
  uint64_t rows;
  uint64_t columns;
  int64_t stride;
};
struct Operation {
  cublasComputeType_t compute_type;
  cudaDataType_t scale_type;
  int32_t transpose_a;
  int32_t transpose_b;
  uint32_t epilogue;
  void* bias;
  void* auxiliary;
  int64_t auxiliary_stride;
};
struct Preference {
  uint64_t workspace_bytes;
  uint32_t alignments[4];  // of a, b, c, d
};
// An algorithm knows what it was chosen for.
struct Algorithm {
  uint64_t problem;  // a hash
  uint32_t alignments[4];
  uint64_t workspace_bytes;
};
static_assert(sizeof(Layout) <= sizeof(cublasLtMatrixLayoutOpaque_t));
static_assert(sizeof(Operation) <= sizeof(cublasLtMatmulDescOpaque_t));
static_assert(sizeof(Preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t));
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

constexpr uint64_t kWorkspaceBytes = 4 << 20;  // that an algorithm asks for, if it may
constexpr uint32_t kDefaultAlignment = 256;    // what cuBLASLt takes for granted if it isn't told

template <typename T, typename Opaque>
T& inside(Opaque* opaque) {
  return *reinterpret_cast<T*>(opaque);
}
template <typename T, typename Opaque>
const T& inside(const Opaque* opaque) {
  return *reinterpret_cast<const T*>(opaque);
}

template <typename Opaque, typename T>
cublasStatus_t initialise(Opaque* opaque, size_t bytes, const T& value) {
  if (bytes < sizeof(Opaque)) return CUBLAS_STATUS_ALLOC_FAILED;
  std::memset(opaque, 0, sizeof(Opaque));
  inside<T>(opaque) = value;
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T>
cublasStatus_t assign(T& field, const void* value, size_t bytes) {
  if (!value || bytes != sizeof field) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&field, value, sizeof field);
  return CUBLAS_STATUS_SUCCESS;
}

int64_t bytes_of(cudaDataType type) {
  return type == CUDA_R_16BF ? 2 : 4;
}

bool has(const Operation& operation, int bit) {
  return operation.epilogue & bit;
}
constexpr int kAuxiliaryBit = 128;
constexpr int kBiasGradientBit = 16;
constexpr int kGeluBit = CUBLASLT_EPILOGUE_GELU;
constexpr int kGeluDerivativeBit = 64;

// Whether it is one of those that no algorithm is to be had for.
bool is_refused(uint32_t epilogue) {
  static const std::set<uint32_t> refused = [] {
    std::set<uint32_t> all;
    const char* const value = std::getenv("TRIREME_VGPU_REFUSED_EPILOGUES");
    std::istringstream numbers(value ? value : "");
    for (std::string number; std::getline(numbers, number, ',');)
      all.insert(uint32_t(std::strtoul(number.c_str(), nullptr, 10)));
    return all;
  }();
  return refused.contains(epilogue);
}

bool is_known(uint32_t epilogue) {
  switch (epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
    case CUBLASLT_EPILOGUE_BIAS:
    case CUBLASLT_EPILOGUE_GELU:
    case CUBLASLT_EPILOGUE_GELU_AUX:
    case CUBLASLT_EPILOGUE_GELU_BIAS:
    case CUBLASLT_EPILOGUE_GELU_AUX_BIAS:
    case CUBLASLT_EPILOGUE_DGELU:
    case CUBLASLT_EPILOGUE_DGELU_BGRAD:
    case CUBLASLT_EPILOGUE_BGRADA:
    case CUBLASLT_EPILOGUE_BGRADB:
      return true;
    default:
      return false;
  }
}

Gemm::SumOf bias_gradient_of(const Operation& operation) {
  if (operation.epilogue == CUBLASLT_EPILOGUE_BGRADA) return Gemm::SumOf::kA;
  if (operation.epilogue == CUBLASLT_EPILOGUE_BGRADB) return Gemm::SumOf::kB;
  return has(operation, kBiasGradientBit) ? Gemm::SumOf::kD : Gemm::SumOf::kNone;
}

// One call's problem.
struct Problem {
  Operation operation;
  Layout a, b, c, d;

  uint64_t hash() const {
    Operation known = operation;
    known.bias = known.auxiliary = nullptr;
    uint64_t hash = 14695981039346656037ull;
    const auto mix = [&](uint64_t x) { hash = (hash ^ x) * 1099511628211ull; };
    for (const uint64_t x : {uint64_t(known.transpose_a), uint64_t(known.transpose_b),
                             uint64_t(known.epilogue), uint64_t(known.auxiliary_stride)})
      mix(x);
    for (const Layout& layout : {a, b, c, d}) {
      for (const uint64_t x : {uint64_t(layout.type), layout.rows, layout.columns, uint64_t(layout.stride)})
        mix(x);
    }
    return hash;
  }

  // What the documentation of cublasLtMatmul doesn't list.
  bool is_supported() const {
    if (operation.compute_type != CUBLAS_COMPUTE_32F || operation.scale_type != CUDA_R_32F) return false;
    const bool types =
        a.type == b.type && c.type == d.type &&
        (a.type == CUDA_R_32F ? d.type == CUDA_R_32F
                              : a.type == CUDA_R_16BF && (d.type == CUDA_R_32F || d.type == CUDA_R_16BF));
    return types && is_known(operation.epilogue) && !is_refused(operation.epilogue);
  }

  bool is_valid() const {
    for (const Layout& layout : {a, b, c, d}) {
      if (layout.rows == 0 || layout.columns == 0 || layout.stride < int64_t(layout.rows)) return false;
    }
    const uint64_t m = operation.transpose_a ? a.columns : a.rows;
    const uint64_t k = operation.transpose_a ? a.rows : a.columns;
    const uint64_t k_of_b = operation.transpose_b ? b.columns : b.rows;
    const uint64_t n = operation.transpose_b ? b.rows : b.columns;
    if (d.rows != m || c.rows != m || d.columns != n || c.columns != n || k != k_of_b) return false;
    if (has(operation, kAuxiliaryBit) && (!operation.auxiliary || operation.auxiliary_stride % 8 != 0 ||
                                          operation.auxiliary_stride < int64_t(m) ||
                                          reinterpret_cast<uintptr_t>(operation.auxiliary) % 16 != 0))
      return false;
    const bool wants_bias =
        has(operation, CUBLASLT_EPILOGUE_BIAS) || bias_gradient_of(operation) != Gemm::SumOf::kNone;
    return !wants_bias || operation.bias;
  }
};

Problem problem_of(cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                   cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d) {
  return {inside<Operation>(operation), inside<Layout>(a), inside<Layout>(b), inside<Layout>(c),
          inside<Layout>(d)};
}

// A gemm and the memory that it works on, until it is executed.
class Call {
 public:
  Call(const Problem& problem, float alpha, float beta) : problem_(problem) {
    gemm_.transpose_a = problem.operation.transpose_a;
    gemm_.transpose_b = problem.operation.transpose_b;
    gemm_.alpha = alpha;
    gemm_.beta = beta;
    gemm_.bias_gradient_of = bias_gradient_of(problem.operation);
  }

  void add(Matrix& matrix, const void* begin, const Layout& layout, bool is_read, bool is_written) {
    const int64_t bytes = bytes_of(layout.type);
    matrix = {nullptr, layout.type == CUDA_R_16BF, int64_t(layout.rows), int64_t(layout.columns),
              layout.stride};
    matrices_.push_back(&matrix);
    operands_.push_back({const_cast<void*>(begin), size_t(layout.stride * bytes), size_t(layout.rows * bytes),
                         size_t(layout.columns), is_written, is_read});
  }

  void add_all(const void* a, const void* b, const void* c, void* d) {
    const Operation& operation = problem_.operation;
    add(gemm_.a, a, problem_.a, true, false);
    add(gemm_.b, b, problem_.b, true, false);
    if (gemm_.beta != 0) add(gemm_.c, c, problem_.c, true, false);
    add(gemm_.d, d, problem_.d, false, true);
    const uint64_t m = problem_.d.rows, n = problem_.d.columns;
    if (has(operation, CUBLASLT_EPILOGUE_BIAS))
      add(gemm_.bias, operation.bias, {problem_.d.type, m, 1, int64_t(m)}, true, false);
    if (has(operation, kGeluBit)) gemm_.activation = Activation::kGelu;
    if (has(operation, kGeluDerivativeBit)) gemm_.activation = Activation::kGeluDerivative;
    if (has(operation, kAuxiliaryBit)) {
      const bool is_written = gemm_.activation == Activation::kGelu;
      add(gemm_.auxiliary, operation.auxiliary, {problem_.d.type, m, n, operation.auxiliary_stride},
          !is_written, is_written);
    }
    if (gemm_.bias_gradient_of != Gemm::SumOf::kNone) {
      const uint64_t length = gemm_.bias_gradient_of == Gemm::SumOf::kB ? n : m;
      add(gemm_.bias_gradient, operation.bias, {problem_.d.type, length, 1, int64_t(length)}, false, true);
    }
  }

  const std::vector<VgpuOperand>& operands() const { return operands_; }

  static void execute(void* call, uint8_t* const* bytes) {
    Call& self = *static_cast<Call*>(call);
    for (size_t i = 0; i < self.matrices_.size(); ++i) self.matrices_[i]->data = bytes[i];
    run(self.gemm_);
  }
  static void release(void* call) { delete static_cast<Call*>(call); }

 private:
  Problem problem_;
  Gemm gemm_;
  std::vector<Matrix*> matrices_;
  std::vector<VgpuOperand> operands_;
};

bool is_aligned(const void* pointer, uint32_t alignment) {
  return reinterpret_cast<uintptr_t>(pointer) % alignment == 0;
}

}  // namespace
}  // namespace trireme::vgpu

using namespace trireme::vgpu;

extern "C" {

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "success";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "an unsupported value or parameter was passed to the function";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "the functionality requested is not supported";
    default:
      return "the operation failed";
  }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  static int nothing;  // handles have no state
  *handle = reinterpret_cast<cublasLtHandle_t>(&nothing);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t layout, size_t bytes,
                                                 cudaDataType type, uint64_t rows, uint64_t columns,
                                                 int64_t stride) {
  return initialise(layout, bytes, Layout{type, rows, columns, stride});
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t operation, size_t bytes,
                                               cublasComputeType_t compute_type, cudaDataType_t scale_type) {
  return initialise(operation, bytes,
                    Operation{compute_type, scale_type, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT,
                              nullptr, nullptr, 0});
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t opaque,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              size_t bytes) {
  Operation& operation = inside<Operation>(opaque);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return assign(operation.transpose_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return assign(operation.transpose_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return assign(operation.epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return assign(operation.bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER:
      return assign(operation.auxiliary, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD:
      return assign(operation.auxiliary_stride, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;  // by this library
  }
}

cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t preference, size_t bytes) {
  return initialise(
      preference, bytes,
      Preference{0, {kDefaultAlignment, kDefaultAlignment, kDefaultAlignment, kDefaultAlignment}});
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t opaque,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, size_t bytes) {
  Preference& preference = inside<Preference>(opaque);
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return assign(preference.workspace_bytes, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return assign(preference.alignments[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value,
                    bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t opaque, int num_wanted,
                                              cublasLtMatmulHeuristicResult_t* results, int* num_found) {
  *num_found = 0;
  if (num_wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
  const Problem problem = problem_of(operation, a, b, c, d);
  if (!problem.is_valid()) return CUBLAS_STATUS_INVALID_VALUE;
  if (!problem.is_supported()) return CUBLAS_STATUS_NOT_SUPPORTED;
  const Preference& preference = inside<Preference>(opaque);
  Algorithm algorithm = {problem.hash(), {}, std::min(preference.workspace_bytes, kWorkspaceBytes)};
  std::memcpy(algorithm.alignments, preference.alignments, sizeof algorithm.alignments);
  *results = {};
  inside<Algorithm>(&results->algo) = algorithm;
  results->workspaceSize = algorithm.workspace_bytes;
  results->state = CUBLAS_STATUS_SUCCESS;
  *num_found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t operation, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* opaque, void* workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
  const Problem problem = problem_of(operation, a_layout, b_layout, c_layout, d_layout);
  if (!problem.is_valid()) return CUBLAS_STATUS_INVALID_VALUE;
  if (!problem.is_supported()) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (opaque) {
    const Algorithm& algorithm = inside<Algorithm>(opaque);
    if (algorithm.problem != problem.hash() || algorithm.workspace_bytes > workspace_bytes ||
        !is_aligned(workspace, 16))
      return CUBLAS_STATUS_INVALID_VALUE;
    const void* const pointers[] = {a, b, c, d};
    for (int i = 0; i < 4; ++i) {
      if (!is_aligned(pointers[i], algorithm.alignments[i])) return CUBLAS_STATUS_INVALID_VALUE;
    }
  }
  auto call =
      std::make_unique<Call>(problem, *static_cast<const float*>(alpha), *static_cast<const float*>(beta));
  call->add_all(a, b, c, d);
  const std::vector<VgpuOperand> operands = call->operands();
  const cudaError_t error = vgpu_submit("cublasLtMatmul", stream, operands.data(), int(operands.size()),
                                        Call::execute, call.release(), Call::release);
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
}
