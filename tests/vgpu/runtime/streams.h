#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <cuda_runtime_api.h>

#include "tests/vgpu/memory/timeline.h"
#include "tests/vgpu/runtime/graphs.h"

namespace trireme::vgpu {

// An operation when it is executed.
struct Running {
  OpId id = 0;
  const Clock& clock;
};

class Stream {
 public:
  Stream(int index, int device, bool blocking, int priority)
      : index_(index), device_(device), blocking_(blocking), priority_(priority) {}

  int device() const { return device_; }
  bool blocking() const { return blocking_; }  // waits for the legacy default stream, and it for this one
  int priority() const { return priority_; }
  const Capture* capture() const { return capture_.get(); }  // null: it isn't captured

 private:
  friend class Streams;
  const int index_;
  const int device_;
  const bool blocking_;
  const int priority_;
  OpId last_ = 0;
  Clock clock_;              // what is over once all submitted so far is
  std::vector<OpId> waits_;  // of cudaStreamWaitEvent, for the next operation
  std::deque<OpId> queue_;   // submitted and not executed
  std::shared_ptr<Capture> capture_;
  size_t branch_ = 0;                   // of the capture
  std::vector<size_t> captured_after_;  // what its next node comes after
};

struct Event {
  int device = 0;
  OpId op = 0;  // 0: never recorded
  Clock clock;
  std::shared_ptr<double> seconds = std::make_shared<double>(0);  // which a pending record outlives it with
  bool timing = true;
  std::shared_ptr<Capture> capture;    // it was recorded in
  std::vector<size_t> captured_after;  // nodes of the capture
};

// Executes what is submitted to streams: at once, or (TRIREME_VGPU_STREAMS=lazy) only when somebody waits for
// it, and then nothing but what it must.  Keeps the clocks that say what is ordered before what.
class Streams {
 public:
  static Streams& get();

  Stream* create(int device, bool blocking, int priority);
  void destroy(Stream* stream);
  // The stream of a handle on the device, with the two special ones; null if there is none.
  Stream* find(cudaStream_t handle, int device);

  // Of a stream that is captured, the operation becomes a node of the graph.
  OpId submit(Stream& stream, const std::string& name, std::function<void(const Running&)> execute);
  // An operation that may have to wait for another process: the attempt is called, when it is the operation's
  // turn, until it returns true.  What is behind it in its stream, or waits for that, stays pending as long.
  // `begin` is called when it is put into the stream: now or, captured, at each launch of the graph.
  OpId submit_joint(Stream& stream, const std::string& name, Begin begin);
  // Executes what `op` needs as far as that can be done now (0: all that was submitted, if work is done when
  // it is submitted).  Whether all of it is done.
  bool advance(OpId op);
  // What a wait of the host calls that can't go on: returns when something may have changed.
  void on_stuck(std::function<void(double seconds_waited)> stuck) { stuck_ = std::move(stuck); }
  void record(Event& event, Stream& stream);
  void wait(Stream& stream, const Event& event);

  bool is_done(OpId op) const { return !pending_.contains(op); }
  bool is_done(const Stream& stream) const { return stream.queue_.empty(); }
  // As a question of the host whether it is done: if it isn't, makes progress.
  bool ask(Stream& stream);
  bool ask(const Event& event);
  // Executes what is needed; afterwards the host knows that it is over.
  void finish(Stream& stream);
  void finish(const Event& event) { finish(event.op, event.clock); }
  void finish_device(int device);
  void finish_all();
  // Executes all that was submitted, but the host learns nothing of it: it may have been executed just as
  // well.
  void advance_all();
  bool host_knows(OpId op) const { return Timeline::get().is_before(op, host_clock_); }

  // --- Capture. ---

  cudaError_t begin_capture(Stream& stream, cudaStreamCaptureMode mode);
  cudaError_t end_capture(Stream& stream, Graph& graph);
  // What CUDA says to a call that a capture doesn't allow, which makes the capture invalid.
  cudaError_t refuse_captured(const Stream& stream);  // the host can't wait for it, nor ask
  cudaError_t refuse_captured(const Event& event);
  cudaError_t refuse_captured(int device);
  cudaError_t refuse_unsafe();                   // calls that may wait: allocations, ...
  cudaError_t refuse_use(const Stream& stream);  // anything submitted to it
  // In place of wait() where the stream or the event belong to a capture.
  cudaError_t wait_captured(Stream& stream, const Event& event);

  void instantiate(GraphExec& exec);
  void launch(GraphExec& exec, Stream& stream);
  void destroy(GraphExec& exec);

 private:
  struct Operation {
    Stream* stream = nullptr;
    Clock clock;
    std::vector<OpId> after;
    Attempt attempt;
  };

  Streams();
  void finish(OpId op, const Clock& clock);
  void order_after(Operation& op, const Stream& other);
  bool execute_up_to(OpId op);  // false: something is not ready
  void wait_for(OpId op);
  void join_capture(Stream& stream, const std::shared_ptr<Capture>& capture,
                    const std::vector<size_t>& after);

  std::vector<std::unique_ptr<Stream>> streams_;  // destroyed ones are null
  std::vector<Stream*> legacy_;                   // by device
  std::vector<Stream*> per_thread_;
  std::unordered_map<OpId, Operation> pending_;
  std::vector<std::shared_ptr<Capture>> captures_;  // that are not over
  std::function<void(double)> stuck_;
  Clock host_clock_;  // what the host knows to be over
};

}  // namespace trireme::vgpu
