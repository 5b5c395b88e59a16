// Threads, the instruction set chosen, and the speed of light.
#include "kernels/threads.h"

#include <atomic>
#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/speed_of_light.h"

namespace trireme {
namespace {

TEST(Threads, CountIsKept) {
  const int before = num_threads();
  EXPECT_GE(before, 1);
  set_num_threads(3);
  EXPECT_EQ(num_threads(), 3);
  set_num_threads(before);
  EXPECT_DEATH(set_num_threads(0), "count");
}

TEST(ParallelFor, CoversEveryIndexOnceInRangesThatDoNotDependOnThreads) {
  const int before = num_threads();
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    for (const std::int64_t count : {0, 1, 7, 8, 9, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
      cpu::parallel_for(count, 8, [&](std::int64_t begin, std::int64_t end) {
        EXPECT_EQ(begin % 8, 0);
        EXPECT_EQ(end, std::min(begin + 8, count));
        for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
      });
      for (const auto& visit : visits) EXPECT_EQ(visit.load(), 1);
    }
  }
  set_num_threads(before);
}

// The test binary runs once per level: see CMakeLists.txt.
TEST(Isa, EnvironmentIsObeyed) {
  const char* wanted = std::getenv("TRIREME_ISA");
  if (wanted == nullptr) GTEST_SKIP() << "TRIREME_ISA is not set";
  EXPECT_STREQ(cpu::name(cpu::isa()), wanted);
}

TEST(SpeedOfLight, IsPlausibleAndKept) {
  const double peak = peak_flops({}, DType::kFloat32);
  EXPECT_GT(peak, 1e8);
  EXPECT_LT(peak, 1e15);
  EXPECT_EQ(peak_flops({}, DType::kFloat32), peak);
}

}  // namespace
}  // namespace trireme
