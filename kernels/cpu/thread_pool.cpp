#include "kernels/cpu/thread_pool.h"

#include <algorithm>

namespace trireme::cpu {
namespace {

// Waits until `value` is no longer `old`: first giving way to others, some tens of microseconds long, then
// asleep.
void wait_while(const std::atomic<int>& value, int old) {
  constexpr int kYields = 200;
  for (int i = 0; i < kYields; ++i) {
    if (value.load() != old) return;
    std::this_thread::yield();
  }
  value.wait(old);
}

}  // namespace

ThreadPool::~ThreadPool() {
  stopping_ = true;
  ++epoch_;
  epoch_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void ThreadPool::run(const Job& job) {
  while (static_cast<int>(helpers_.size()) < job.num_helpers) {
    helpers_.emplace_back([this, index = static_cast<int>(helpers_.size())] { help(index); });
  }
  job_ = job;
  next_chunk_ = 0;
  open_ = true;
  ++epoch_;
  epoch_.notify_all();
  work();
  // A helper counts itself in before it looks whether the job is open: once it is closed and nobody is
  // inside, nobody will touch it again.
  open_ = false;
  for (int inside = num_inside_; inside != 0; inside = num_inside_) wait_while(num_inside_, inside);
}

void ThreadPool::help(int index) {
  int seen = 0;
  while (!stopping_) {
    wait_while(epoch_, seen);
    seen = epoch_;
    ++num_inside_;
    if (open_ && index < job_.num_helpers) work();
    if (--num_inside_ == 0) num_inside_.notify_one();
  }
}

void ThreadPool::work() {
  const std::int64_t num_chunks = (job_.count + job_.chunk - 1) / job_.chunk;
  for (std::int64_t i = next_chunk_++; i < num_chunks; i = next_chunk_++) {
    job_.function(job_.body, i * job_.chunk, std::min(job_.count, (i + 1) * job_.chunk));
  }
}

}  // namespace trireme::cpu
