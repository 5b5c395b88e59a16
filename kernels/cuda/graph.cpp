#include <cuda_runtime_api.h>

#include "kernels/cuda/check.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/stream_state.h"

namespace trireme::cuda {
namespace {

cudaGraphExec_t handle(void* graph) {
  return static_cast<cudaGraphExec_t>(graph);
}

}  // namespace

void begin_graph(const StreamState& stream) {
  // Relaxed: ops may make larger scratch memory meanwhile, which isn't part of the graph.
  TRIREME_CUDA(cudaStreamBeginCapture(stream.handle(), cudaStreamCaptureModeRelaxed));
}

void* end_graph(const StreamState& stream, void* old) {
  cudaGraph_t work = nullptr;
  TRIREME_CUDA(cudaStreamEndCapture(stream.handle(), &work));
  cudaGraphExec_t graph = handle(old);
  cudaGraphExecUpdateResultInfo why_not{};
  if (graph != nullptr && cudaGraphExecUpdate(graph, work, &why_not) != cudaSuccess) {
    cudaGetLastError();  // they are other ops, which is no error here
    destroy_graph(graph);
    graph = nullptr;
  }
  if (graph == nullptr) TRIREME_CUDA(cudaGraphInstantiate(&graph, work, 0));
  TRIREME_CUDA(cudaGraphDestroy(work));
  return graph;
}

void launch_graph(void* graph, const StreamState& stream) {
  TRIREME_CUDA(cudaGraphLaunch(handle(graph), stream.handle()));
}

void destroy_graph(void* graph) {
  TRIREME_CUDA(cudaGraphExecDestroy(handle(graph)));
}

}  // namespace trireme::cuda
