// When a rank dies the job ends, non-zero and soon, however it died: no rank waits for it forever.
#include <chrono>
#include <cstdlib>
#include <ostream>
#include <string>

#include <gtest/gtest.h>
#include <sys/wait.h>

namespace {

struct Death {
  const char* how;
  int exit_code;  // of mpirun
};

void PrintTo(const Death& death, std::ostream* out) {
  *out << death.how;
}

class RankDeathTest : public testing::TestWithParam<Death> {};

TEST_P(RankDeathTest, EndsTheJob) {
  const std::string command = std::string("timeout 60 " TRIREME_MPIRUN " 2 " TRIREME_DYING_RANK " ") +
                              GetParam().how + " > /dev/null 2>&1";
  const auto start = std::chrono::steady_clock::now();
  const int status = std::system(command.c_str());
  const auto taken = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), GetParam().exit_code);
  EXPECT_LT(taken, std::chrono::seconds(30));  // about one second on a quiet machine
}

INSTANTIATE_TEST_SUITE_P(, RankDeathTest,
                         testing::Values(Death{"exit", 3}, Death{"kill", 137}, Death{"crash", 134},
                                         Death{"abort", 7}, Death{"throw", 2}),
                         [](const auto& death) { return death.param.how; });

}  // namespace
