#include "parallel/operation_queue.h"

#include <utility>

#include <glog/logging.h>

namespace trireme {

OperationQueue::OperationQueue() : thread_([this] { run(); }) {}

OperationQueue::~OperationQueue() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  submitted_.notify_one();
  thread_.join();
}

OperationQueue::Ticket OperationQueue::submit(std::function<void()> operation) {
  Ticket ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(operation));
    ticket = ++last_submitted_;
  }
  submitted_.notify_one();
  return ticket;
}

void OperationQueue::wait(Ticket ticket) {
  std::unique_lock lock(mutex_);
  CHECK_LE(ticket, last_submitted_) << "this ticket was given by another communicator";
  finished_.wait(lock, [&] { return last_finished_ >= ticket; });
}

void OperationQueue::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    submitted_.wait(lock, [&] { return closing_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const std::function<void()> operation = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    operation();
    lock.lock();
    ++last_finished_;
    finished_.notify_all();
  }
}

}  // namespace trireme
