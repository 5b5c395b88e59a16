#include "parallel/operation_queue.h"

#include <atomic>
#include <chrono>
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

TEST(OperationQueueTest, WaitForNothingReturns) {
  OperationQueue queue;
  queue.wait(0);
}

}  // namespace
}  // namespace trireme
