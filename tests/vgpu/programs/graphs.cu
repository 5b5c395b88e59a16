// Streams that are captured, and the graphs made of them.  The argument says which program.
#include "program.h"

__global__ void add(float* data, float value, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) data[i] += value;
}

__global__ void add_all(float* to, const float* from, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) to[i] += from[i];
}

constexpr int kSize = 200;
constexpr size_t kBytes = kSize * sizeof(float);

struct PinnedArray {
  PinnedArray() { CUDA(cudaMallocHost(&data, kBytes)); }
  ~PinnedArray() { cudaFreeHost(data); }
  float* data = nullptr;
};

struct Streams {
  Streams() {
    for (cudaStream_t* s : {&main, &side, &other}) CUDA(cudaStreamCreateWithFlags(s, cudaStreamNonBlocking));
    for (cudaEvent_t* e : {&fork, &join}) CUDA(cudaEventCreateWithFlags(e, cudaEventDisableTiming));
  }
  ~Streams() {
    for (cudaStream_t s : {main, side, other}) cudaStreamDestroy(s);
    for (cudaEvent_t e : {fork, join}) cudaEventDestroy(e);
  }
  cudaStream_t main, side, other;
  cudaEvent_t fork, join;
};

// Nothing is done when it is captured, all of it at each launch, with the parameters of the capture.
void chain() {
  Streams s;
  DeviceArray<float> data(kSize), sum(kSize);
  PinnedArray in, out;
  CUDA(cudaMemset(sum.get(), 0, kBytes));
  CUDA(cudaDeviceSynchronize());
  float value = 2;
  const cudaGraphExec_t exec = captured(s.main, [&] {
    CUDA(cudaMemcpyAsync(data.get(), in.data, kBytes, cudaMemcpyHostToDevice, s.main));
    add<<<2, 128, 0, s.main>>>(data.get(), value, kSize);
    add_all<<<2, 128, 0, s.main>>>(sum.get(), data.get(), kSize);
    CUDA(cudaMemsetAsync(data.get(), 0, kBytes, s.main));
    CUDA(cudaMemcpyAsync(out.data, sum.get(), kBytes, cudaMemcpyDeviceToHost, s.main));
    cudaStreamCaptureStatus status;
    CUDA(cudaStreamIsCapturing(s.main, &status));
    EXPECT(status == cudaStreamCaptureStatusActive);
  });
  value = 100;
  float expected = 0;
  for (int launch = 1; launch <= 3; ++launch) {
    for (int i = 0; i < kSize; ++i) in.data[i] = launch;
    CUDA(cudaGraphLaunch(exec, s.main));
    CUDA(cudaStreamSynchronize(s.main));
    expected += launch + 2;
    for (int i = 0; i < kSize; ++i) EXPECT(out.data[i] == expected);
  }
  CUDA(cudaGraphExecDestroy(exec));
}

// (data += 1) beside (more += 2), or wrongly beside (data += 2); then data += more.
void fork(bool apart, bool waits_for_launch) {
  Streams s;
  DeviceArray<float> data(kSize), more(kSize);
  PinnedArray out;
  CUDA(cudaMemsetAsync(data.get(), 0, kBytes, s.main));
  CUDA(cudaMemsetAsync(more.get(), 0, kBytes, s.main));
  const cudaGraphExec_t exec = captured(s.main, [&] {
    CUDA(cudaEventRecord(s.fork, s.main));
    CUDA(cudaStreamWaitEvent(s.side, s.fork, 0));
    add<<<2, 128, 0, s.main>>>(data.get(), 1, kSize);
    add<<<2, 128, 0, s.side>>>(apart ? more.get() : data.get(), 2, kSize);
    CUDA(cudaEventRecord(s.join, s.side));
    CUDA(cudaStreamWaitEvent(s.main, s.join, 0));
    add_all<<<2, 128, 0, s.main>>>(data.get(), more.get(), kSize);
  });
  for (int launch = 0; launch < 2; ++launch) CUDA(cudaGraphLaunch(exec, s.main));
  CUDA(cudaEventRecord(s.join, s.main));  // outside of a capture again
  if (waits_for_launch) CUDA(cudaStreamWaitEvent(s.other, s.join, 0));
  CUDA(cudaMemcpyAsync(out.data, data.get(), kBytes, cudaMemcpyDeviceToHost, s.other));
  CUDA(cudaStreamSynchronize(s.other));
  for (int i = 0; i < kSize; ++i) EXPECT(out.data[i] == 1 + 2 + 1 + 4);
  CUDA(cudaStreamSynchronize(s.main));
  CUDA(cudaGraphExecDestroy(exec));
}

// Another capture of like operations takes a graph's place from its next launch on; one of others doesn't.
void update() {
  Streams s;
  DeviceArray<float> data(kSize);
  PinnedArray out;
  CUDA(cudaMemset(data.get(), 0, kBytes));
  CUDA(cudaDeviceSynchronize());
  const auto adds = [&](float value, int times) {
    CUDA(cudaStreamBeginCapture(s.main, cudaStreamCaptureModeRelaxed));
    for (int i = 0; i < times; ++i) add<<<2, 128, 0, s.main>>>(data.get(), value, kSize);
    cudaGraph_t graph;
    CUDA(cudaStreamEndCapture(s.main, &graph));
    return graph;
  };
  const cudaGraph_t first = adds(1, 2), like = adds(10, 2), other = adds(100, 3);
  cudaGraphExec_t exec;
  CUDA(cudaGraphInstantiate(&exec, first, 0));
  CUDA(cudaGraphLaunch(exec, s.main));
  cudaGraphExecUpdateResultInfo info;
  CUDA(cudaGraphExecUpdate(exec, like, &info));
  EXPECT(info.result == cudaGraphExecUpdateSuccess);
  CUDA(cudaGraphLaunch(exec, s.main));
  EXPECT(cudaGraphExecUpdate(exec, other, &info) == cudaErrorGraphExecUpdateFailure);
  EXPECT(info.result == cudaGraphExecUpdateErrorTopologyChanged);
  CUDA(cudaGraphLaunch(exec, s.main));
  CUDA(cudaMemcpyAsync(out.data, data.get(), kBytes, cudaMemcpyDeviceToHost, s.main));
  CUDA(cudaStreamSynchronize(s.main));
  for (int i = 0; i < kSize; ++i) EXPECT(out.data[i] == 2 + 20 + 20);
  for (const cudaGraph_t graph : {first, like, other}) CUDA(cudaGraphDestroy(graph));
  CUDA(cudaGraphExecDestroy(exec));
}

// A call that a capture doesn't allow fails, and the capture is lost.
template <class Call>
void refused(cudaStreamCaptureMode mode, cudaError_t expected, Call call) {
  Streams s;
  CUDA(cudaStreamBeginCapture(s.main, mode));
  EXPECT(call(s) == expected);
  cudaGraph_t graph = nullptr;
  EXPECT(cudaStreamEndCapture(s.main, &graph) ==
         (expected == cudaSuccess ? cudaSuccess : cudaErrorStreamCaptureInvalidated));
  EXPECT((graph != nullptr) == (expected == cudaSuccess));
  if (graph) CUDA(cudaGraphDestroy(graph));
  cudaGetLastError();
  CUDA(cudaStreamSynchronize(s.main));  // it is a plain stream again
}

void not_allowed() {
  const auto allocates = [](Streams&) {
    float* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, 4);
    if (data) CUDA(cudaFree(data));
    return error;
  };
  constexpr auto kGlobal = cudaStreamCaptureModeGlobal, kRelaxed = cudaStreamCaptureModeRelaxed;
  constexpr auto kUnsupported = cudaErrorStreamCaptureUnsupported;
  refused(kGlobal, kUnsupported, allocates);
  refused(cudaStreamCaptureModeThreadLocal, kUnsupported, allocates);
  refused(kRelaxed, cudaSuccess, allocates);
  refused(kRelaxed, kUnsupported, [](Streams& s) { return cudaStreamSynchronize(s.main); });
  refused(kRelaxed, kUnsupported, [](Streams& s) { return cudaStreamQuery(s.main); });
  refused(kRelaxed, kUnsupported, [](Streams&) { return cudaDeviceSynchronize(); });
  refused(kRelaxed, cudaErrorCapturedEvent, [](Streams& s) {
    CUDA(cudaEventRecord(s.fork, s.main));
    return cudaEventSynchronize(s.fork);
  });
  refused(kRelaxed, cudaErrorStreamCaptureIsolation, [](Streams& s) {
    CUDA(cudaEventRecord(s.fork, s.other));
    return cudaStreamWaitEvent(s.main, s.fork, 0);
  });
  refused(kRelaxed, cudaErrorStreamCaptureUnmatched, [](Streams& s) {
    CUDA(cudaEventRecord(s.fork, s.main));
    CUDA(cudaStreamWaitEvent(s.side, s.fork, 0));
    cudaGraph_t graph;
    return cudaStreamEndCapture(s.side, &graph);
  });
  EXPECT(cudaStreamBeginCapture(nullptr, kGlobal) == kUnsupported);
}

// Work of another stream that the first one doesn't wait for.
void unjoined() {
  Streams s;
  DeviceArray<float> data(kSize);
  CUDA(cudaStreamBeginCapture(s.main, cudaStreamCaptureModeGlobal));
  CUDA(cudaEventRecord(s.fork, s.main));
  CUDA(cudaStreamWaitEvent(s.side, s.fork, 0));
  CUDA(cudaMemsetAsync(data.get(), 0, kBytes, s.side));
  cudaGraph_t graph;
  EXPECT(cudaStreamEndCapture(s.main, &graph) == cudaErrorStreamCaptureUnjoined);
  EXPECT(graph == nullptr);
}

// The legacy stream would wait for a blocking stream.
void implicit() {
  cudaStream_t blocking;
  DeviceArray<float> data(kSize);
  CUDA(cudaStreamCreate(&blocking));
  CUDA(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeRelaxed));
  EXPECT(cudaMemset(data.get(), 0, kBytes) == cudaErrorStreamCaptureImplicit);
  cudaGraph_t graph;
  EXPECT(cudaStreamEndCapture(blocking, &graph) == cudaErrorStreamCaptureInvalidated);
  CUDA(cudaStreamDestroy(blocking));
}

int main(int, char** arguments) {
  const std::string which = arguments[1];
  if (which == "chain") chain();
  if (which == "fork") fork(true, true);
  if (which == "update") update();
  if (which == "branches_race") fork(false, true);
  if (which == "not_waited_for") fork(true, false);
  if (which == "not_allowed") not_allowed();
  if (which == "unjoined") unjoined();
  if (which == "implicit") implicit();
  std::puts("fine");
}
