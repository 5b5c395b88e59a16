#include "parallel/operation_queue.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace trireme {
namespace {

TEST(OperationQueueTest, ExecutesInOrder) {
  std::vector<int> executed;  // read only after wait(), which is what makes it visible
  OperationQueue queue;
  OperationQueue::Ticket ticket = 0;
  for (int i = 0; i < 1000; ++i) ticket = queue.submit([&executed, i] { executed.push_back(i); });
  queue.wait(ticket);
  ASSERT_EQ(executed.size(), 1000U);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(executed[static_cast<std::size_t>(i)], i);
}

TEST(OperationQueueTest, SubmitDoesNotWait) {
  std::atomic<bool> open = false;
  OperationQueue queue;
  const auto first = queue.submit([&] {
    while (!open) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  int second_ran = 0;
  const auto second = queue.submit([&] { second_ran = 1; });
  open = true;  // had submit() waited, we wouldn't get here
  queue.wait(second);
  queue.wait(first);
  EXPECT_EQ(second_ran, 1);
}

TEST(OperationQueueTest, DestructionExecutesWhatIsLeft) {
  int count = 0;
  {
    OperationQueue queue;
    for (int i = 0; i < 100; ++i) queue.submit([&] { ++count; });
  }
  EXPECT_EQ(count, 100);
}

// Starts when its turn comes, ends when the test lets it.
class Gate final : public Operation {
 public:
  struct State {
    std::atomic<bool> started = false;
    std::atomic<bool> open = false;
  };
  explicit Gate(State& state) : state_(state) {}
  void start() override { state_.started = true; }
  Progress advance() override { return state_.open ? Progress::kDone : Progress::kWaiting; }

 private:
  State& state_;
};

void wait_until(const std::atomic<bool>& flag) {
  while (!flag) std::this_thread::sleep_for(std::chrono::microseconds(100));
}

TEST(OperationQueueTest, ConcurrentOperationsHoldUpNobody) {
  Gate::State first_state;
  Gate::State second_state;
  OperationQueue queue;
  const auto first = queue.submit(std::make_unique<Gate>(first_state), OperationQueue::Order::kConcurrent);
  const auto second = queue.submit(std::make_unique<Gate>(second_state), OperationQueue::Order::kConcurrent);
  int third_ran = 0;
  const auto third = queue.submit([&] { third_ran = 1; });
  queue.wait(third);
  EXPECT_EQ(third_ran, 1);
  wait_until(second_state.started);
  second_state.open = true;
  queue.wait(second);
  EXPECT_FALSE(first_state.open);
  first_state.open = true;
  queue.wait(first);
}

TEST(OperationQueueTest, WhatRunsAloneHoldsUpAllBehindIt) {
  Gate::State alone;
  Gate::State behind;
  OperationQueue queue;
  queue.submit(std::make_unique<Gate>(alone), OperationQueue::Order::kAlone);
  queue.submit(std::make_unique<Gate>(behind), OperationQueue::Order::kConcurrent);
  wait_until(alone.started);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_FALSE(behind.started);
  alone.open = true;
  wait_until(behind.started);
  behind.open = true;
  queue.drain();
}

TEST(OperationQueueTest, TimesWhatItDoes) {
  Gate::State state;
  OperationQueue queue;
  const auto ticket = queue.submit(std::make_unique<Gate>(state), OperationQueue::Order::kAlone);
  wait_until(state.started);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // computing, while it is under way
  state.open = true;
  const auto begin = std::chrono::steady_clock::now();
  queue.wait(ticket);
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(queue.seconds_busy(), 0.020);
  const double busy = queue.seconds_busy();
  EXPECT_LE(queue.seconds_waited(), waited.count());
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(queue.seconds_busy(), busy);  // nothing is under way
}

TEST(OperationQueueTest, WaitForNothingReturns) {
  OperationQueue queue;
  queue.wait(0);
}

}  // namespace
}  // namespace trireme
