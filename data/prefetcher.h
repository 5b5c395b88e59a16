// Things made ahead of their use, by a thread of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace trireme {

// Gives out one T after another, without end; up to `depth` are filled ahead.  Each is used again for a later
// one, so that its memory stays.
template <typename T>
class Prefetcher {
 public:
  // `fill` is called by the thread, until it throws or the prefetcher is destroyed: what it uses must live as
  // long, and is the thread's alone.  REQUIRES: depth >= 1.
  Prefetcher(std::size_t depth, std::function<void(T&)> fill) : fill_(std::move(fill)), empty_(depth) {
    thread_ = std::thread([this] { run(); });
  }
  ~Prefetcher() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  // Valid until the next call.  What `fill` threw is thrown here, after what was filled before it.
  const T& next() {
    const auto begin = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !full_.empty() || error_; });
    seconds_waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (full_.empty()) std::rethrow_exception(error_);
    std::swap(current_, full_.front());
    empty_.push_back(std::move(full_.front()));
    full_.pop_front();
    lock.unlock();
    changed_.notify_all();
    return current_;
  }

  // Time that next() has waited.
  double seconds_waited() const { return seconds_waited_; }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    try {
      for (;;) {
        changed_.wait(lock, [&] { return !empty_.empty() || stopping_; });
        if (stopping_) return;
        T thing = std::move(empty_.front());
        empty_.pop_front();
        lock.unlock();
        fill_(thing);
        lock.lock();
        full_.push_back(std::move(thing));
        changed_.notify_all();
      }
    } catch (...) {  // fill_() threw, and the mutex is free
      lock.lock();
      error_ = std::current_exception();
      changed_.notify_all();
    }
  }

  const std::function<void(T&)> fill_;

  std::mutex mutex_;  // of all that follows
  std::condition_variable changed_;
  std::deque<T> full_;
  std::deque<T> empty_;
  std::exception_ptr error_;
  bool stopping_ = false;

  T current_;  // what next() gave out
  double seconds_waited_ = 0.0;
  std::thread thread_;  // the last member: it uses the others
};

}  // namespace trireme
