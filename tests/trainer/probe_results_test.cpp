// The lines and the table of `trireme probe`.
#include "trainer/probes/probe_results.h"

#include <fstream>

#include <gtest/gtest.h>

#include "data/user_error.h"
#include "tests/support/temp_dir.h"

namespace trireme {
namespace {

const ProbeResult kCopy = {.task = "copy",
                           .model = "rope",
                           .steps = 1000,
                           .seed = 3,
                           .parameters = 312128,
                           .seconds = 72,
                           .scores = {{.length = 10, .questions = 1000, .exact = 999},
                                      {.length = 20, .questions = 1000, .exact = 0}}};
const ProbeResult kParity = {.task = "parity",
                             .model = "none",
                             .steps = 500,
                             .scores = {{.length = 20, .questions = 250, .exact = 125}}};

TEST(ProbeResults, LinesReadBackToTheSame) {
  const TempDir dir;
  EXPECT_TRUE(read_probe_results(dir / "results.jsonl").empty());
  std::ofstream(dir / "results.jsonl") << probe_line(kCopy) << probe_line(kParity);
  const auto results = read_probe_results(dir / "results.jsonl");
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(probe_line(results[0]), probe_line(kCopy));
  EXPECT_EQ(probe_line(results[1]), probe_line(kParity));
  EXPECT_EQ(results[0].scores[0].exact, 999);
}

TEST(ProbeResults, AnUnreadableLineIsNamed) {
  const TempDir dir;
  for (const char* bad : {"{\"task\": \"copy\"", "{\"task\": 3}", "[]"}) {
    std::ofstream(dir / "results.jsonl") << probe_line(kCopy) << bad << '\n';
    try {
      read_probe_results(dir / "results.jsonl");
      ADD_FAILURE() << bad << " was read";
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find("results.jsonl:2: "), std::string::npos) << error.what();
    }
  }
}

TEST(ProbeResults, TheTableHasAColumnForEachLength) {
  EXPECT_EQ(probe_table({kCopy, kParity}),
            "| task | model | exact at 10 | exact at 20 | steps | parameters | training |\n"
            "|---|---|--:|--:|--:|--:|--:|\n"
            "| copy | rope | 99.9 | 0.0 | 1000 | 312k | 1m 12s |\n"
            "| parity | none |  | 50.0 (of 250) | 500 | 0 | 0s |\n");
}

}  // namespace
}  // namespace trireme
