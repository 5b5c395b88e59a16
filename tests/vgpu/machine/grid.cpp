// Blocks over the threads of the host.
#include <algorithm>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <numeric>
#include <thread>

#include "tests/vgpu/machine/block.h"
#include "tests/vgpu/settings.h"

namespace trireme::vgpu {
namespace {

// Threads that live as long as the process and run the same job side by side.
class Workers {
 public:
  explicit Workers(int count) {
    for (int i = 0; i < count; ++i)
      threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  }

  // Runs the job on every worker and on the caller; returns when all are back.
  void run(const std::function<void()>& job) {
    {
      const std::lock_guard lock(mutex_);
      job_ = &job;
      ++generation_;
      running_ = static_cast<int>(threads_.size());
    }
    wake_.notify_all();
    job();
    std::unique_lock lock(mutex_);
    back_.wait(lock, [&] { return running_ == 0; });
  }

 private:
  void work(const std::stop_token& stop) {
    uint64_t seen = 0;
    for (;;) {
      const std::function<void()>* job;
      {
        std::unique_lock lock(mutex_);
        if (!wake_.wait(lock, stop, [&] { return generation_ != seen; })) return;
        seen = generation_;
        job = job_;
      }
      (*job)();
      const std::lock_guard lock(mutex_);
      if (--running_ == 0) back_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::condition_variable back_;
  const std::function<void()>* job_ = nullptr;
  uint64_t generation_ = 0;
  int running_ = 0;
  std::vector<std::jthread> threads_;
};

}  // namespace

void run(Launch& launch) {
  const uint64_t num_blocks = launch.grid.count();
  std::vector<uint32_t> shuffled;
  if (settings().shuffle_seed) {
    shuffled.resize(num_blocks);
    std::iota(shuffled.begin(), shuffled.end(), 0);
    std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937_64(settings().shuffle_seed + launch.op));
  }
  std::atomic<uint64_t> next = 0;
  std::mutex mutex;
  const auto job = [&] {
    if (next >= num_blocks) return;
    Block block(launch);
    for (uint64_t i; (i = next++) < num_blocks && launch.trap == 0;)
      block.run(shuffled.empty() ? static_cast<uint32_t>(i) : shuffled[i]);
    const std::lock_guard lock(mutex);
    launch.kernel->counters.add(block.counters());
  };
  if (num_blocks == 1 || settings().num_threads == 1) {
    job();
  } else {
    static Workers workers(settings().num_threads - 1);
    workers.run(job);
  }
  ++launch.kernel->counters.launches;
}

}  // namespace trireme::vgpu
