// Capture of streams, and graphs made of what was captured.
#include <memory>
#include <set>

#include "tests/vgpu/runtime/api.h"
#include "tests/vgpu/runtime/graphs.h"

namespace trireme::vgpu {
namespace {

std::set<Graph*>& graphs() {
  static std::set<Graph*> live;
  return live;
}

std::set<GraphExec*>& executables() {
  static std::set<GraphExec*> live;
  return live;
}

// Calls f with what the handle stands for.
template <class Object, class Handle, class F>
cudaError_t with(const char* name, std::set<Object*>& live, Handle handle, F f) {
  return api_call(name, [&] {
    Object* const object = reinterpret_cast<Object*>(handle);
    return live.contains(object) ? f(*object) : cudaErrorInvalidValue;
  });
}

template <class F>
cudaError_t with_stream(const char* name, cudaStream_t handle, F f) {
  return api_call(name, [&] {
    Stream* const stream = stream_of(handle);
    return stream ? f(*stream) : cudaErrorInvalidResourceHandle;
  });
}

cudaError_t instantiate(cudaGraphExec_t* handle, const Graph& graph) {
  auto exec = std::make_unique<GraphExec>();
  exec->graph = graph;
  Streams::get().instantiate(*exec);
  *handle = reinterpret_cast<cudaGraphExec_t>(exec.get());
  executables().insert(exec.release());
  return cudaSuccess;
}

}  // namespace
}  // namespace trireme::vgpu

using namespace trireme::vgpu;

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  return with_stream("cudaStreamBeginCapture", handle,
                     [&](Stream& s) { return Streams::get().begin_capture(s, mode); });
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph_handle) {
  return with_stream("cudaStreamEndCapture", handle, [&](Stream& s) {
    *graph_handle = nullptr;
    auto graph = std::make_unique<Graph>();
    const cudaError_t error = Streams::get().end_capture(s, *graph);
    if (error != cudaSuccess) return error;
    *graph_handle = reinterpret_cast<cudaGraph_t>(graph.get());
    graphs().insert(graph.release());
    return cudaSuccess;
  });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  return with_stream("cudaStreamIsCapturing", handle, [&](Stream& s) {
    *status = !s.capture()             ? cudaStreamCaptureStatusNone
              : !s.capture()->is_valid ? cudaStreamCaptureStatusInvalidated
                                       : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  return with("cudaGraphInstantiate", graphs(), graph, [&](Graph& g) { return instantiate(exec, g); });
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t handle, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo* info) {
  return with("cudaGraphExecUpdate", executables(), handle, [&](GraphExec& exec) {
    Graph* const update = reinterpret_cast<Graph*>(graph);
    if (!graphs().contains(update)) return cudaErrorInvalidValue;
    const bool is_like = exec.graph.is_like(*update);
    *info = {};
    info->result = is_like ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
    if (!is_like) return cudaErrorGraphExecUpdateFailure;
    exec.graph = *update;  // what was launched goes on as it was
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t handle) {
  return with("cudaGraphLaunch", executables(), exec, [&](GraphExec& e) {
    Stream* const stream = stream_of(handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (stream->capture()) return cudaErrorNotSupported;  // a graph within a graph: not on this machine
    const cudaError_t error = Streams::get().refuse_use(*stream);
    if (error != cudaSuccess) return error;
    ++RuntimeState::get().counters.graph_launches;
    Streams::get().launch(e, *stream);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  return with("cudaGraphExecDestroy", executables(), exec, [&](GraphExec& e) {
    Streams::get().destroy(e);  // what was launched is still done
    executables().erase(&e);
    const std::unique_ptr<GraphExec> destroyed(&e);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return with("cudaGraphDestroy", graphs(), graph, [&](Graph& g) {
    graphs().erase(&g);
    const std::unique_ptr<Graph> destroyed(&g);
    return cudaSuccess;
  });
}

}  // extern "C"
