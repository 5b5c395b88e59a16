#include "tests/support/ranks.h"

#include <cstdio>

#include <glog/logging.h>
#include <gtest/gtest.h>

namespace trireme {
namespace {

Process* process = nullptr;

class AbortOnFailure : public testing::EmptyTestEventListener {
  void OnTestEnd(const testing::TestInfo& test) override {
    if (!test.result()->Failed()) return;
    std::fflush(nullptr);
    process->abort(1);
  }
};

}  // namespace

Process& test_process() {
  return *process;
}

}  // namespace trireme

int main(int argc, char** argv) {
  FLAGS_logtostderr = true;
  google::InitGoogleLogging(argv[0]);
  testing::InitGoogleTest(&argc, argv);
  trireme::Process process(&argc, &argv);
  trireme::process = &process;
  if (process.num_ranks() > 1) {
    testing::UnitTest::GetInstance()->listeners().Append(new trireme::AbortOnFailure);
    if (process.rank() > 0) GTEST_FLAG_SET(brief, true);
  }
  return RUN_ALL_TESTS();
}
