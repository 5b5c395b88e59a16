// A thread that executes operations in the order in which they were given: the CPU's stand-in for a stream.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace trireme {

class OperationQueue {
 public:
  using Ticket = std::uint64_t;  // 1, 2, 3, ... in the order of submission; 0 is always done

  OperationQueue();
  // Executes what was submitted, then joins the thread.
  ~OperationQueue();
  OperationQueue(const OperationQueue&) = delete;
  OperationQueue& operator=(const OperationQueue&) = delete;

  // Returns at once.  `operation` must not throw.
  Ticket submit(std::function<void()> operation);
  // Returns when this operation, and so all before it, is done; the caller then sees what they wrote.
  void wait(Ticket ticket);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable submitted_;
  std::condition_variable finished_;
  std::deque<std::function<void()>> waiting_;
  Ticket last_submitted_ = 0;
  Ticket last_finished_ = 0;
  bool closing_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace trireme
