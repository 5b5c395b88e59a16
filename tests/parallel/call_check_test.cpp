// Ranks that disagree about a collective end the job, and say who called what.
#include <ostream>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/program.h"

namespace trireme {
namespace {

struct Disagreement {
  const char* how;
  const char* said;
};

void PrintTo(const Disagreement& disagreement, std::ostream* out) {
  *out << disagreement.how;
}

class CallCheckTest : public testing::TestWithParam<Disagreement> {};

TEST_P(CallCheckTest, NamesTheRanks) {
  Program job({"env", "TRIREME_CHECK_COLLECTIVES=1", "timeout", "60", TRIREME_MPIRUN, "3",
               TRIREME_DISAGREEING_RANKS, GetParam().how});
  EXPECT_EQ(job.wait(), 1);
  EXPECT_NE(job.errors().find(GetParam().said), std::string::npos) << job.errors();
}

INSTANTIATE_TEST_SUITE_P(
    , CallCheckTest,
    testing::Values(
        Disagreement{
            "operation",
            "world: in collective 2 of the group rank 0, 2 calls all_reduce(sum) of 100 float32; rank 1 "
            "calls broadcast of 100 float32 from the group's rank 0"},
        Disagreement{
            "count",
            "rank 0, 2 calls all_reduce(sum) of 100 float32; rank 1 calls all_reduce(sum) of 99 float32"},
        Disagreement{
            "type",
            "rank 0, 2 calls all_reduce(sum) of 100 float32; rank 1 calls all_reduce(sum) of 100 int32"},
        Disagreement{
            "reduction",
            "rank 0, 2 calls all_reduce(sum) of 100 float32; rank 1 calls all_reduce(max) of 100 float32"},
        Disagreement{"root", "rank 1 calls broadcast of 100 float32 from the group's rank 1"},
        Disagreement{"missing", "rank 0, 2 calls all_reduce(sum) of 100 float32; rank 1 calls barrier"},
        Disagreement{"group",
                     "dp: in collective 1 of the group rank 1 calls all_reduce(sum) of 100 int32; rank 2 "
                     "calls all_reduce(sum) of 100 float32"},
        Disagreement{"message",
                     "rank 2 calls receive of 100 float32 from rank 1, which calls send of 50 float32"}),
    [](const auto& disagreement) { return disagreement.param.how; });

TEST(RanksThatAgree, PassTheirCheck) {
  Program job({"env", "TRIREME_CHECK_COLLECTIVES=1", "timeout", "60", TRIREME_MPIRUN, "3",
               TRIREME_DISAGREEING_RANKS, "not at all"});
  EXPECT_EQ(job.wait(), 0) << job.errors();
}

}  // namespace
}  // namespace trireme
