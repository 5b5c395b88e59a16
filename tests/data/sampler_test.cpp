#include "data/sampler.h"

#include <cmath>
#include <cstdlib>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace trireme {
namespace {

std::vector<std::int64_t> epoch_of(const Sampler& sampler, std::int64_t epoch) {
  std::vector<std::int64_t> windows;
  for (std::int64_t i = 0; i < sampler.num_windows(); ++i)
    windows.push_back(sampler.window(epoch * sampler.num_windows() + i));
  return windows;
}

TEST(Sampler, EachEpochIsAPermutation) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t n = 1; n <= 70; ++n) sizes.push_back(n);
  for (const std::int64_t n : {255, 256, 257, 1000, 4095, 4096, 4097, 65536, 100003}) sizes.push_back(n);
  for (const std::int64_t n : sizes) {
    const Sampler sampler(n * 10 + 1, 10, /*seed=*/3);
    ASSERT_EQ(sampler.num_windows(), n);
    for (const std::int64_t epoch : {0, 1, 1000}) {
      std::vector<bool> seen(static_cast<std::size_t>(n));
      for (const std::int64_t window : epoch_of(sampler, epoch)) {
        ASSERT_TRUE(window >= 0 && window < n);
        ASSERT_FALSE(seen[static_cast<std::size_t>(window)]) << window << " twice of " << n;
        seen[static_cast<std::size_t>(window)] = true;
      }
    }
  }
}

TEST(Sampler, WindowsLeaveNoTokenOutButTheRest) {
  EXPECT_EQ(Sampler::windows_in(0, 4), 0);
  EXPECT_EQ(Sampler::windows_in(4, 4), 0);  // the last target is missing
  EXPECT_EQ(Sampler::windows_in(5, 4), 1);
  EXPECT_EQ(Sampler::windows_in(8, 4), 1);
  EXPECT_EQ(Sampler::windows_in(9, 4), 2);
  const Sampler sampler(9, 4, 1);
  EXPECT_EQ(sampler.position(0) + sampler.position(1), 4);
}

TEST(Sampler, IsAPureFunctionOfSeedAndSample) {
  const Sampler one(100001, 10, 5);
  const Sampler two(100001, 10, 5);
  EXPECT_EQ(two.window(999999999), one.window(999999999));
  EXPECT_EQ(epoch_of(one, 2), epoch_of(two, 2));
  EXPECT_NE(epoch_of(one, 2), epoch_of(one, 3));
  EXPECT_NE(epoch_of(one, 2), epoch_of(Sampler(100001, 10, 6), 2));
}

// The order is fixed for ever: runs of yesterday go on with the same data today.
TEST(Sampler, TheOrderIsTheOneItHasAlwaysBeen) {
  const Sampler sampler(1001, 10, 1234);
  const std::vector<std::int64_t> first = {sampler.window(0), sampler.window(1), sampler.window(2),
                                           sampler.window(1000000000)};
  EXPECT_EQ(first, (std::vector<std::int64_t>{95, 48, 35, 48}));
}

TEST(Sampler, ShufflesOverTheWholeSplit) {
  constexpr std::int64_t kWindows = 10000;
  const Sampler sampler(kWindows * 10 + 1, 10, 7);
  const std::vector<std::int64_t> windows = epoch_of(sampler, 0);
  // Neighbours in the order are far from each other: a third of the split on average, and not correlated.
  double distance = 0.0;
  double product = 0.0;
  for (std::size_t i = 0; i + 1 < windows.size(); ++i) {
    distance += static_cast<double>(std::abs(windows[i + 1] - windows[i]));
    product += (static_cast<double>(windows[i]) / kWindows - 0.5) *
               (static_cast<double>(windows[i + 1]) / kWindows - 0.5);
  }
  EXPECT_NEAR(distance / kWindows / kWindows, 1.0 / 3.0, 0.01);
  EXPECT_NEAR(product / kWindows * 12.0, 0.0, 0.05);
  // A tenth of an epoch takes from every tenth of the split.
  std::vector<int> counts(10);
  for (std::size_t i = 0; i < 1000; ++i) ++counts[static_cast<std::size_t>(windows[i] / 1000)];
  for (const int count : counts) EXPECT_NEAR(count, 100, 40);
  // Where a window comes in one epoch says nothing about the next.
  const std::vector<std::int64_t> next = epoch_of(sampler, 1);
  int num_same = 0;
  for (std::size_t i = 0; i < windows.size(); ++i) num_same += windows[i] == next[i] ? 1 : 0;
  EXPECT_LT(num_same, 10);
}

}  // namespace
}  // namespace trireme
