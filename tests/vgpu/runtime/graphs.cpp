#include "tests/vgpu/runtime/graphs.h"

#include <algorithm>

#include "tests/vgpu/runtime/streams.h"

namespace trireme::vgpu {

bool Graph::is_like(const Graph& other) const {
  return devices == other.devices && nodes.size() == other.nodes.size() &&
         std::equal(nodes.begin(), nodes.end(), other.nodes.begin(),
                    [](const Node& a, const Node& b) { return a.branch == b.branch && a.after == b.after; });
}

bool Capture::are_joined(const std::vector<size_t>& waited_for) const {
  std::vector<bool> joined(graph.nodes.size());
  for (const size_t node : waited_for) joined[node] = true;
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    if (!joined[i]) return false;  // whoever waits for it has a higher number
    for (const size_t before : graph.nodes[i].after) joined[before] = true;
  }
  return true;
}

cudaError_t Streams::begin_capture(Stream& stream, cudaStreamCaptureMode mode) {
  if (&stream == legacy_[stream.device_]) return cudaErrorStreamCaptureUnsupported;
  if (stream.capture_) return cudaErrorIllegalState;
  const auto capture = std::make_shared<Capture>();
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  captures_.push_back(capture);
  join_capture(stream, capture, {});
  return cudaSuccess;
}

void Streams::join_capture(Stream& stream, const std::shared_ptr<Capture>& capture,
                           const std::vector<size_t>& after) {
  stream.capture_ = capture;
  stream.branch_ = capture->streams.size();
  stream.captured_after_ = after;
  capture->streams.push_back(&stream);
  capture->graph.devices.push_back(stream.device_);
}

cudaError_t Streams::end_capture(Stream& stream, Graph& graph) {
  const std::shared_ptr<Capture> capture = stream.capture_;
  if (!capture) return cudaErrorIllegalState;
  if (capture->streams[0] != &stream) {
    capture->is_valid = false;
    return cudaErrorStreamCaptureUnmatched;
  }
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
    return cudaErrorStreamCaptureWrongThread;
  const bool is_joined = capture->are_joined(stream.captured_after_);
  capture->is_over = true;
  for (Stream* const captured : capture->streams) captured->capture_ = nullptr;
  std::erase(captures_, capture);
  if (!capture->is_valid) return cudaErrorStreamCaptureInvalidated;
  if (!is_joined) return cudaErrorStreamCaptureUnjoined;
  graph = std::move(capture->graph);
  return cudaSuccess;
}

cudaError_t Streams::refuse_captured(const Stream& stream) {
  if (!stream.capture_) return cudaSuccess;
  stream.capture_->is_valid = false;
  return cudaErrorStreamCaptureUnsupported;
}

cudaError_t Streams::refuse_captured(const Event& event) {
  if (!event.capture) return cudaSuccess;
  event.capture->is_valid = false;
  return cudaErrorCapturedEvent;
}

cudaError_t Streams::refuse_captured(int device) {
  cudaError_t error = cudaSuccess;
  for (const auto& capture : captures_)
    for (const Stream* const stream : capture->streams)
      if (stream->device_ == device) error = refuse_captured(*stream);
  return error;
}

cudaError_t Streams::refuse_unsafe() {
  cudaError_t error = cudaSuccess;
  for (const auto& capture : captures_) {
    const bool is_ours = capture->thread == std::this_thread::get_id();
    if (capture->mode == cudaStreamCaptureModeRelaxed ||
        (capture->mode == cudaStreamCaptureModeThreadLocal && !is_ours))
      continue;
    capture->is_valid = false;
    error = cudaErrorStreamCaptureUnsupported;
  }
  return error;
}

cudaError_t Streams::refuse_use(const Stream& stream) {
  if (stream.capture_) return stream.capture_->is_valid ? cudaSuccess : cudaErrorStreamCaptureInvalidated;
  if (&stream != legacy_[stream.device_]) return cudaSuccess;
  cudaError_t error = cudaSuccess;  // the legacy stream would wait for them
  for (const auto& capture : captures_) {
    for (const Stream* const captured : capture->streams) {
      if (!captured->blocking_ || captured->device_ != stream.device_) continue;
      capture->is_valid = false;
      error = cudaErrorStreamCaptureImplicit;
    }
  }
  return error;
}

cudaError_t Streams::wait_captured(Stream& stream, const Event& event) {
  if (!event.capture) {
    if (!event.op) return cudaSuccess;  // never recorded
    stream.capture_->is_valid = false;
    return cudaErrorStreamCaptureIsolation;
  }
  if (event.capture->is_over) return cudaErrorCapturedEvent;
  if (stream.capture_ && stream.capture_ != event.capture) {
    stream.capture_->is_valid = event.capture->is_valid = false;
    return cudaErrorStreamCaptureMerge;
  }
  if (!stream.capture_) {
    join_capture(stream, event.capture, event.captured_after);
  } else {
    auto& after = stream.captured_after_;
    after.insert(after.end(), event.captured_after.begin(), event.captured_after.end());
  }
  return cudaSuccess;
}

void Streams::instantiate(GraphExec& exec) {
  for (const int device : exec.graph.devices) exec.branches.push_back(create(device, false, 0));
}

void Streams::launch(GraphExec& exec, Stream& stream) {
  const auto nothing = [](const Running&) {};
  const auto wait_for = [](Stream& waiting, OpId op, const Clock& clock) {
    if (op) waiting.waits_.push_back(op);
    join(waiting.clock_, clock);
  };
  wait_for(stream, exec.end, exec.end_clock);
  const OpId begin = submit(stream, "the begin of a graph", nothing);
  const Clock begin_clock = stream.clock_;
  std::vector<std::pair<OpId, Clock>> done;
  for (const Graph::Node& node : exec.graph.nodes) {
    Stream& branch = *exec.branches[node.branch];
    wait_for(branch, begin, begin_clock);
    for (const size_t before : node.after) wait_for(branch, done[before].first, done[before].second);
    const OpId op = submit_joint(branch, node.name, node.begin);
    done.emplace_back(op, branch.clock_);
  }
  for (const Stream* const branch : exec.branches) wait_for(stream, branch->last_, branch->clock_);
  exec.end = submit(stream, "the end of a graph", nothing);
  exec.end_clock = stream.clock_;
}

void Streams::destroy(GraphExec& exec) {
  for (Stream* const branch : exec.branches) destroy(branch);
}

}  // namespace trireme::vgpu
