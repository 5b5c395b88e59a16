#include "parallel/operation_queue.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <glog/logging.h>

namespace trireme {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// What to do while nothing moves: first give way, then sleep, longer and longer.
class Backoff {
 public:
  void reset() { num_waits_ = 0; }
  void pause() {
    ++num_waits_;
    if (num_waits_ <= kYields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(
          std::min(kLongestSleep, (num_waits_ - kYields) * std::chrono::microseconds(5)));
    }
  }

 private:
  static constexpr int kYields = 50;
  static constexpr std::chrono::microseconds kLongestSleep{100};
  int num_waits_ = 0;
};

class OneStep final : public Operation {
 public:
  explicit OneStep(std::function<void()> action) : action_(std::move(action)) {}
  void start() override {}
  Progress advance() override {
    action_();
    return Progress::kDone;
  }

 private:
  std::function<void()> action_;
};

}  // namespace

OperationQueue::OperationQueue() : thread_([this] { run(); }) {}

OperationQueue::~OperationQueue() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  submitted_.notify_one();
  thread_.join();
}

OperationQueue::Ticket OperationQueue::submit(std::unique_ptr<Operation> operation, Order order) {
  Ticket ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    ticket = ++last_submitted_;
    waiting_.push_back({std::move(operation), order, ticket});
    unfinished_.insert(ticket);
  }
  submitted_.notify_one();
  return ticket;
}

OperationQueue::Ticket OperationQueue::submit(std::function<void()> operation) {
  return submit(std::make_unique<OneStep>(std::move(operation)), Order::kAlone);
}

void OperationQueue::wait(Ticket ticket) {
  std::unique_lock lock(mutex_);
  CHECK_LE(ticket, last_submitted_) << "this ticket was given by another communicator";
  const Clock::time_point begin = Clock::now();
  finished_.wait(lock, [&] { return !unfinished_.contains(ticket); });
  seconds_waited_ += seconds_since(begin);
}

void OperationQueue::drain() {
  std::unique_lock lock(mutex_);
  const Clock::time_point begin = Clock::now();
  finished_.wait(lock, [&] { return unfinished_.empty(); });
  seconds_waited_ += seconds_since(begin);
}

double OperationQueue::seconds_busy() const {
  const std::lock_guard lock(mutex_);
  return seconds_busy_;
}

double OperationQueue::seconds_waited() const {
  const std::lock_guard lock(mutex_);
  return seconds_waited_;
}

void OperationQueue::run() {
  Backoff backoff;
  Clock::time_point counted;  // up to where seconds_busy_ goes
  for (;;) {
    if (running_.empty()) {
      std::unique_lock lock(mutex_);
      submitted_.wait(lock, [&] { return closing_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      counted = Clock::now();
    }
    start_what_may();
    const bool moved = advance_running();
    if (moved) {
      backoff.reset();
    } else {
      backoff.pause();
    }
    const std::lock_guard lock(mutex_);
    const Clock::time_point now = Clock::now();
    seconds_busy_ += std::chrono::duration<double>(now - counted).count();
    counted = now;
    note_finished();
  }
}

void OperationQueue::start_what_may() {
  // What runs alone has nothing behind it that runs, so it is the last.
  while (running_.empty() || running_.back().order == Order::kConcurrent) {
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.empty()) return;
      running_.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    running_.back().operation->start();
  }
}

bool OperationQueue::advance_running() {
  bool moved = false;
  for (Submitted& submitted : running_) {
    const Operation::Progress progress = submitted.operation->advance();
    moved |= progress != Operation::Progress::kWaiting;
    if (progress != Operation::Progress::kDone) continue;
    just_finished_.push_back(submitted.ticket);
    submitted.operation.reset();
  }
  std::erase_if(running_, [](const Submitted& submitted) { return submitted.operation == nullptr; });
  return moved;
}

void OperationQueue::note_finished() {
  if (just_finished_.empty()) return;
  for (const Ticket ticket : just_finished_) unfinished_.erase(ticket);
  just_finished_.clear();
  finished_.notify_all();
}

}  // namespace trireme
