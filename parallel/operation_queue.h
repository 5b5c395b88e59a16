// A thread that executes operations in the order in which they were given: the CPU's stand-in for a stream.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace trireme {

// What the thread of a queue does in small steps, so that several can be under way at a time.  Nothing
// throws.
class Operation {
 public:
  enum class Progress : std::uint8_t { kWaiting, kMoved, kDone };

  virtual ~Operation() = default;
  // Called once, first.
  virtual void start() = 0;
  // Called again and again until it is done.  Waits for nobody.
  virtual Progress advance() = 0;
};

class OperationQueue {
 public:
  using Ticket = std::uint64_t;  // 1, 2, 3, ... in the order of submission; 0 is always done

  // Operations start in the order of submission.
  enum class Order : std::uint8_t {
    kAlone,       // those behind start when this one is done
    kConcurrent,  // those behind may start as soon as this one has
  };

  OperationQueue();
  // Executes what was submitted, then joins the thread.
  ~OperationQueue();
  OperationQueue(const OperationQueue&) = delete;
  OperationQueue& operator=(const OperationQueue&) = delete;

  // Return at once.
  Ticket submit(std::unique_ptr<Operation> operation, Order order);
  Ticket submit(std::function<void()> operation);  // in one step, alone
  // Returns when this operation is done, and with it all before it that run alone; the caller then sees what
  // they wrote.
  void wait(Ticket ticket);
  // Returns when everything submitted is done.
  void drain();

  // How long operations were under way (those at the same time count once), and waiting for them took.
  double seconds_busy() const;
  double seconds_waited() const;

 private:
  struct Submitted {
    std::unique_ptr<Operation> operation;
    Order order = Order::kAlone;
    Ticket ticket = 0;
  };

  void run();
  void start_what_may();
  bool advance_running();
  void note_finished();

  mutable std::mutex mutex_;
  std::condition_variable submitted_;
  std::condition_variable finished_;
  std::deque<Submitted> waiting_;
  std::set<Ticket> unfinished_;
  Ticket last_submitted_ = 0;
  bool closing_ = false;
  double seconds_busy_ = 0.0;
  double seconds_waited_ = 0.0;

  // The thread's own.
  std::vector<Submitted> running_;
  std::vector<Ticket> just_finished_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace trireme
