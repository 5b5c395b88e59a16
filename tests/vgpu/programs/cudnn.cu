// A graph of cuDNN's operations, (a b) scale, at once or captured, or with operands that are not what they
// should be: the argument says which.  Then what may be asked of descriptors in no case.
#include <cstdio>
#include <cstring>
#include <vector>

#include <cudnn_graph.h>

#include "program.h"

namespace {

constexpr int kSize = 16;
constexpr size_t kBytes = kSize * kSize * sizeof(float);
enum Id : int64_t { kA = 1, kB, kProduct, kScale, kResult };

void succeed(cudnnStatus_t status, const char* call, int line) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char why[256] = "";
  cudnnGetLastErrorString(why, sizeof why);
  std::fprintf(stderr, "line %d: %s: %s: %s\n", line, call, cudnnGetErrorString(status), why);
  std::exit(1);
}
#define CUDNN(call) succeed(call, #call, __LINE__)

struct Descriptor {
  cudnnBackendDescriptor_t raw = nullptr;

  explicit Descriptor(cudnnBackendDescriptorType_t type) { CUDNN(cudnnBackendCreateDescriptor(type, &raw)); }
  ~Descriptor() { cudnnBackendDestroyDescriptor(raw); }
  Descriptor(const Descriptor&) = delete;

  cudnnStatus_t set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                    const void* values) {
    return cudnnBackendSetAttribute(raw, name, type, count, values);
  }
  cudnnStatus_t set(cudnnBackendAttributeName_t name, const Descriptor& other) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &other.raw);
  }
  cudnnStatus_t finalize() { return cudnnBackendFinalize(raw); }
};

enum class Kind { kMemory, kVirtual, kByValue };

struct GraphTensor : Descriptor {
  explicit GraphTensor(int64_t id, Kind kind = Kind::kMemory, cudnnDataType_t type = CUDNN_DATA_FLOAT,
                       bool is_final = true)
      : Descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR) {
    const int64_t n = kind == Kind::kByValue ? 1 : kSize;
    const int64_t dims[] = {1, 1, n, n}, strides[] = {n * n, n * n, n, 1}, alignment = 16;
    const bool yes = true;
    CUDNN(set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id));
    CUDNN(set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type));
    CUDNN(set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims));
    CUDNN(set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides));
    CUDNN(set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment));
    if (kind == Kind::kVirtual) CUDNN(set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &yes));
    if (kind == Kind::kByValue) CUDNN(set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &yes));
    if (is_final) CUDNN(finalize());
  }
};

struct Matmul : Descriptor {
  Matmul(const GraphTensor& a, const GraphTensor& b, const GraphTensor& c)
      : Descriptor(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR), how(CUDNN_BACKEND_MATMUL_DESCRIPTOR) {
    const cudnnDataType_t type = CUDNN_DATA_FLOAT;
    CUDNN(how.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type));
    CUDNN(how.finalize());
    CUDNN(set(CUDNN_ATTR_OPERATION_MATMUL_DESC, how));
    CUDNN(set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, a));
    CUDNN(set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, b));
    CUDNN(set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, c));
    CUDNN(finalize());
  }
  Descriptor how;
};

struct Pointwise : Descriptor {
  Pointwise(cudnnPointwiseMode_t mode, const GraphTensor& x, const GraphTensor& b, const GraphTensor& y,
            cudnnStatus_t expected = CUDNN_STATUS_SUCCESS)
      : Descriptor(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR), how(CUDNN_BACKEND_POINTWISE_DESCRIPTOR) {
    const cudnnDataType_t type = CUDNN_DATA_FLOAT;
    CUDNN(how.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode));
    CUDNN(how.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &type));
    CUDNN(how.finalize());
    CUDNN(set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how));
    CUDNN(set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x));
    CUDNN(set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b));
    CUDNN(set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y));
    EXPECT(finalize() == expected);
  }
  Descriptor how;
};

struct OperationGraph : Descriptor {
  OperationGraph(cudnnHandle_t handle, const std::vector<cudnnBackendDescriptor_t>& operations,
                 cudnnStatus_t expected = CUDNN_STATUS_SUCCESS)
      : Descriptor(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) {
    CUDNN(set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle));
    CUDNN(set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, int64_t(operations.size()),
              operations.data()));
    EXPECT(finalize() == expected);
  }
};

// The plan of the second engine; the first must refuse.
struct Plan : Descriptor {
  Plan(cudnnHandle_t handle, const Descriptor& graph) : Descriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
    Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    CUDNN(heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph));
    CUDNN(heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
    CUDNN(heuristics.finalize());
    Descriptor first(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR), second(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    cudnnBackendDescriptor_t both[] = {first.raw, second.raw};
    int64_t count = 0;
    CUDNN(cudnnBackendGetAttribute(heuristics.raw, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                   CUDNN_TYPE_BACKEND_DESCRIPTOR, 2, &count, both));
    EXPECT(count == 2);
    Descriptor refused(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    CUDNN(refused.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle));
    CUDNN(refused.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, first));
    EXPECT(refused.finalize() == CUDNN_STATUS_NOT_SUPPORTED);
    CUDNN(set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle));
    CUDNN(set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, second));
    CUDNN(finalize());
  }
};

cudnnStatus_t execute(cudnnHandle_t handle, const Plan& plan, const std::vector<int64_t>& ids,
                      const std::vector<void*>& pointers, void* workspace) {
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  CUDNN(pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, int64_t(ids.size()), ids.data()));
  CUDNN(pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, int64_t(pointers.size()),
                 pointers.data()));
  CUDNN(pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace));
  if (const cudnnStatus_t status = pack.finalize(); status != CUDNN_STATUS_SUCCESS) return status;
  return cudnnBackendExecute(handle, plan.raw, pack.raw);
}

float* ones_on(cudaStream_t stream) {
  float* data = nullptr;
  CUDA(cudaMalloc(&data, kBytes));
  const std::vector<float> ones(kSize * kSize, 1.0f);
  CUDA(cudaMemcpyAsync(data, ones.data(), kBytes, cudaMemcpyHostToDevice, stream));
  return data;
}

// Each by the status that the real library documents, and with a reason.
void expect_refusals(cudnnHandle_t handle) {
  const GraphTensor a(kA), b(kB), product(kProduct, Kind::kVirtual), result(kResult);
  const int64_t number = 1;
  Descriptor empty(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  EXPECT(empty.finalize() == CUDNN_STATUS_BAD_PARAM);  // nothing is set
  char why[256] = "";
  cudnnGetLastErrorString(why, sizeof why);
  EXPECT(std::strlen(why) > 0);
  EXPECT(empty.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 1, &number) == CUDNN_STATUS_BAD_PARAM);
  EXPECT(empty.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_BOOLEAN, 1, &number) == CUDNN_STATUS_BAD_PARAM);
  EXPECT(empty.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_INT64, 1, &number) != CUDNN_STATUS_SUCCESS);
  EXPECT(GraphTensor(kA).set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &number) ==
         CUDNN_STATUS_BAD_PARAM);  // it is final
  EXPECT(GraphTensor(kA).finalize() == CUDNN_STATUS_BAD_PARAM);
  EXPECT(GraphTensor(kA, Kind::kMemory, CUDNN_DATA_INT8, false).finalize() == CUDNN_STATUS_NOT_SUPPORTED);

  const GraphTensor unfinished(kA, Kind::kMemory, CUDNN_DATA_FLOAT, false);
  Descriptor operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  EXPECT(operation.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, unfinished) == CUDNN_STATUS_BAD_PARAM);
  Pointwise(CUDNN_POINTWISE_ERF, a, b, result, CUDNN_STATUS_NOT_SUPPORTED);
  Descriptor config(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  EXPECT(config.finalize() == CUDNN_STATUS_BAD_PARAM);  // heuristics make them

  // A virtual tensor that nobody writes; one that two write; two tensors of one number.
  const Pointwise reads(CUDNN_POINTWISE_MUL, product, b, result);
  OperationGraph(handle, {reads.raw}, CUDNN_STATUS_BAD_PARAM);
  const Matmul writes(a, b, result);
  OperationGraph(handle, {writes.raw, writes.raw}, CUDNN_STATUS_BAD_PARAM);
  const GraphTensor other(kA, Kind::kVirtual);
  const Matmul confuses(a, b, other);
  OperationGraph(handle, {confuses.raw}, CUDNN_STATUS_BAD_PARAM);
}

}  // namespace

int main(int argc, char** argv) {
  const char* const mistake = argc > 1 ? argv[1] : "";
  const auto is = [&](const char* name) { return std::strcmp(mistake, name) == 0; };
  cudaStream_t stream, other;
  CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  CUDA(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
  cudnnHandle_t handle = nullptr;
  CUDNN(cudnnCreate(&handle));
  CUDNN(cudnnSetStream(handle, stream));
  const GraphTensor a(kA), b(kB), product(kProduct, Kind::kVirtual), scale(kScale, Kind::kByValue),
      result(kResult);
  const Matmul matmul(a, b, product);
  const Pointwise scaling(CUDNN_POINTWISE_MUL, product, scale, result);
  const OperationGraph graph(handle, {matmul.raw, scaling.raw});
  const Plan plan(handle, graph);

  float* const first = ones_on(stream);
  float* second = ones_on(is("missing_event") ? other : stream);
  float* const sum = ones_on(stream);
  float factor = 0.5f;
  void* workspace = nullptr;
  CUDA(cudaMalloc(&workspace, 4096));
  if (is("uninitialised")) {
    cudaFree(second);
    cudaMalloc(&second, kBytes);
  }
  std::vector<float> host(kSize * kSize, 1.0f);
  const std::vector<int64_t> ids = {kA, kB, kScale, kResult};
  const auto run = [&](void* y) {
    return execute(handle, plan, ids,
                   {first, is("host_pointer") ? static_cast<void*>(host.data()) : second, &factor, y},
                   workspace);
  };
  const auto submit = [&] {
    CUDNN(run(is("beyond") ? sum + 4 : sum));
    factor = 0.0f;  // was read when the call was made
  };
  if (is("captured")) {
    const cudaGraphExec_t twice = captured(stream, submit);
    for (int i = 0; i < 2; ++i) CUDA(cudaGraphLaunch(twice, stream));
    CUDA(cudaGraphExecDestroy(twice));
  } else {
    submit();
  }
  CUDA(cudaMemcpyAsync(host.data(), sum, kBytes, cudaMemcpyDeviceToHost, stream));
  CUDA(cudaStreamSynchronize(stream));
  CUDA(cudaStreamSynchronize(other));
  EXPECT(host[0] == kSize / 2 && host.back() == kSize / 2);

  EXPECT(run(sum + 1) == CUDNN_STATUS_BAD_PARAM);  // not aligned as its tensor says
  EXPECT(execute(handle, plan, {kA, kB, kScale}, {first, second, &factor}, workspace) ==
         CUDNN_STATUS_BAD_PARAM);
  EXPECT(execute(handle, plan, {kA, kB, kScale, kResult, 9}, {first, second, &factor, sum, sum}, workspace) ==
         CUDNN_STATUS_BAD_PARAM);
  EXPECT(execute(handle, plan, {kA, kA, kScale, kResult}, {first, second, &factor, sum}, workspace) ==
         CUDNN_STATUS_BAD_PARAM);
  EXPECT(execute(handle, plan, ids, {first, second, &factor}, workspace) == CUDNN_STATUS_BAD_PARAM);
  expect_refusals(handle);
  for (void* memory :
       {static_cast<void*>(first), static_cast<void*>(second), static_cast<void*>(sum), workspace})
    cudaFree(memory);
  CUDA(cudaStreamDestroy(stream));
  CUDA(cudaStreamDestroy(other));
  std::puts("fine");
  return 0;
}
