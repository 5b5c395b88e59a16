// Threads that help the one that calls an op.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace trireme::cpu {

// Helpers wait for the next job awake for some microseconds, as ops follow each other closely, then asleep.
// A job needs no helper: it ends when all its chunks are done, and waits for those only who took one.  So a
// thread that the system holds up, on a machine that others use too, costs at most the chunk that it holds,
// and a thread that has nothing to do leaves its core to those others.
class ThreadPool {
 public:
  using ChunkFunction = void (*)(const void* body, std::int64_t begin, std::int64_t end);

  struct Job {
    std::int64_t count = 0;
    std::int64_t chunk = 1;
    ChunkFunction function = nullptr;
    const void* body = nullptr;
    int num_helpers = 0;  // at most
  };

  ThreadPool() = default;
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Returns when all chunks have run, on this thread and the helpers.  One caller at a time.
  void run(const Job& job);

 private:
  void help(int index);
  void work();

  // Written by the caller while the job is closed and nobody is inside.
  Job job_;
  std::atomic<std::int64_t> next_chunk_{0};
  std::atomic<bool> open_{false};
  std::atomic<int> num_inside_{0};  // helpers that may be looking at job_
  std::atomic<int> epoch_{0};       // changes when there is something new to do
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace trireme::cpu
