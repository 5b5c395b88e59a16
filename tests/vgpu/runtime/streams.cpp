#include "tests/vgpu/runtime/streams.h"

#include <algorithm>
#include <chrono>

#include "tests/vgpu/settings.h"

namespace trireme::vgpu {

Streams& Streams::get() {
  static Streams instance;
  return instance;
}

Streams::Streams() {
  for (int d = 0; d < settings().num_devices; ++d) {
    legacy_.push_back(create(d, true, 0));
    per_thread_.push_back(create(d, true, 0));
  }
}

Stream* Streams::create(int device, bool blocking, int priority) {
  streams_.push_back(std::make_unique<Stream>(static_cast<int>(streams_.size()), device, blocking, priority));
  return streams_.back().get();
}

void Streams::destroy(Stream* stream) {
  wait_for(stream->last_);  // what is submitted is still done
  streams_[stream->index_] = nullptr;
}

Stream* Streams::find(cudaStream_t handle, int device) {
  if (handle == nullptr || handle == cudaStreamLegacy) return legacy_[device];
  if (handle == cudaStreamPerThread) return per_thread_[device];
  for (const auto& stream : streams_)
    if (stream && static_cast<void*>(stream.get()) == handle) return stream.get();
  return nullptr;
}

void Streams::order_after(Operation& op, const Stream& other) {
  if (other.last_) op.after.push_back(other.last_);
  join(op.clock, other.clock_);
}

OpId Streams::submit(Stream& stream, const std::string& name, std::function<void(const Running&)> execute) {
  const Attempt attempt = [execute = std::move(execute)](const Running& running) {
    execute(running);
    return true;
  };
  return submit_joint(stream, name, [attempt](OpId) { return attempt; });
}

OpId Streams::submit_joint(Stream& stream, const std::string& name, Begin begin) {
  if (stream.capture_) {
    Graph& graph = stream.capture_->graph;
    graph.nodes.push_back({name, std::move(begin), stream.branch_, stream.captured_after_});
    stream.captured_after_ = {graph.nodes.size() - 1};
    return 0;
  }
  Operation op;
  op.stream = &stream;
  op.after = std::move(stream.waits_);
  stream.waits_.clear();
  op.clock = stream.clock_;
  join(op.clock, host_clock_);
  Stream* const legacy = legacy_[stream.device_];
  if (&stream == legacy) {
    for (const auto& other : streams_)
      if (other && other->blocking_ && other->device_ == stream.device_ && other.get() != legacy)
        order_after(op, *other);
  } else if (stream.blocking_) {
    order_after(op, *legacy);
  }
  const OpId id = Timeline::get().add(stream.index_, name, op.clock);
  op.attempt = begin(id);
  stream.clock_ = op.clock;
  stream.last_ = id;
  stream.queue_.push_back(id);
  pending_.emplace(id, std::move(op));
  if (!settings().lazy_streams) execute_up_to(id);
  return id;
}

bool Streams::execute_up_to(OpId id) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) return true;
  Stream& stream = *found->second.stream;
  while (!stream.queue_.empty() && stream.queue_.front() <= id) {
    const OpId next = stream.queue_.front();
    stream.queue_.pop_front();
    const Operation& op = pending_.at(next);
    const bool is_ready =
        std::all_of(op.after.begin(), op.after.end(), [&](OpId before) { return execute_up_to(before); });
    if (!is_ready || !op.attempt({next, op.clock})) {
      stream.queue_.push_front(next);
      return false;
    }
    pending_.erase(next);
  }
  return true;
}

bool Streams::advance(OpId op) {
  if (op) return execute_up_to(op);
  if (settings().lazy_streams) return true;
  bool all = true;
  for (const auto& stream : streams_)
    if (stream && !execute_up_to(stream->last_)) all = false;
  return all;
}

void Streams::wait_for(OpId op) {
  const auto start = std::chrono::steady_clock::now();
  while (!execute_up_to(op))
    stuck_(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

bool Streams::ask(Stream& stream) {
  const bool done = is_done(stream);
  if (done)
    finish(stream);
  else
    execute_up_to(stream.last_);
  return done;
}

bool Streams::ask(const Event& event) {
  const bool done = is_done(event.op);
  if (done)
    finish(event);
  else
    execute_up_to(event.op);
  return done;
}

void Streams::record(Event& event, Stream& stream) {
  event.device = stream.device();
  event.capture = stream.capture_;
  if (stream.capture_) {
    event.captured_after = stream.captured_after_;
    return;
  }
  event.op = submit(stream, "an event", [seconds = event.seconds](const Running&) {
    *seconds = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  });
  event.clock = stream.clock_;
}

void Streams::wait(Stream& stream, const Event& event) {
  if (!event.op) return;
  stream.waits_.push_back(event.op);
  join(stream.clock_, event.clock);
}

void Streams::finish(OpId op, const Clock& clock) {
  wait_for(op);
  join(host_clock_, clock);
}

void Streams::finish(Stream& stream) {
  for (const OpId op : stream.waits_) wait_for(op);
  finish(stream.last_, stream.clock_);
}

void Streams::finish_device(int device) {
  for (const auto& stream : streams_)
    if (stream && stream->device_ == device) finish(*stream);
}

void Streams::advance_all() {
  for (const auto& stream : streams_)
    if (stream) execute_up_to(stream->last_);
}

void Streams::finish_all() {
  for (const auto& stream : streams_)
    if (stream) finish(*stream);
}

}  // namespace trireme::vgpu
