#include "trainer/layout.h"

#include <string>

#include <gtest/gtest.h>

#include "data/user_error.h"

namespace trireme {
namespace {

Config config_of(const std::string& more = "") {
  return parse_config("run.directory = 'r'\ndata.path = 'd'\ntrain.batch_sequences = 8\n" + more, "run.toml",
                      {});
}

std::string error_of(const std::string& layout) {
  try {
    in_layout(config_of(), layout);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Layout, NamesWhatDiffersFromOneRank) {
  const Config config = config_of("parallel.data = 4\nparallel.bucket_mib = 3\n");
  EXPECT_EQ(on_one_rank(config).parallel.data, 1);
  EXPECT_EQ(on_one_rank(config).parallel.bucket_mib, ParallelConfig{}.bucket_mib);
  EXPECT_EQ(in_layout(config, "microbatch=2").parallel.data, 1);
  EXPECT_EQ(in_layout(config, "dp=2").parallel.data, 2);
  EXPECT_EQ(in_layout(config, "dp=2").train.batch_sequences, 8);
}

TEST(Layout, TakesShortNamesAndKeys) {
  const Config layout =
      in_layout(config_of(), " dp = 2 , microbatch=1,bucket_mib=0.5,steps=7, model.dropout=0.25");
  EXPECT_EQ(layout.parallel.data, 2);
  EXPECT_EQ(layout.train.microbatch_sequences, 1);
  EXPECT_EQ(layout.parallel.bucket_mib, 0.5);
  EXPECT_EQ(layout.train.steps, 7);
  EXPECT_EQ(layout.model.dropout, 0.25);
  const Config pairs = parse_config(
      "run.directory = 'r'\ndata.path = 'd'\nmodel.kind = 'encoder_decoder'\ntrain.batch_tokens = 800\n",
      "run.toml", {});
  EXPECT_EQ(in_layout(pairs, "microbatch=100").train.microbatch_tokens, 100);
}

TEST(Layout, KnowsItsRanks) {
  EXPECT_EQ(num_ranks(in_layout(config_of(), "microbatch=2"), 8), 1);
  EXPECT_EQ(num_ranks(in_layout(config_of(), "dp=2"), 8), 2);
  EXPECT_EQ(num_ranks(in_layout(config_of(), "dp=0"), 8), 8);
}

TEST(Layout, MistakesAreNamed) {
  EXPECT_EQ(error_of("dq=2"),
            "layout \"dq=2\": unknown name dq; did you mean dp? There are pp, dp, tp, zero, device, "
            "microbatch, the "
            "keys of "
            "[parallel] and [train], and others with their section");
  EXPECT_NE(error_of("dp=2,2"), "");
  EXPECT_NE(error_of("dp=2,=2"), "");
  EXPECT_NE(error_of(""), "");
  EXPECT_NE(error_of("dp=2,,zero=1"), "");
  EXPECT_EQ(error_of("modle.dropout=0"),
            "command line: modle.dropout=0: unknown key modle.dropout; did you mean model.dropout?");
  EXPECT_NE(error_of("dp=two").find("parallel.data must be"), std::string::npos) << error_of("dp=two");
  EXPECT_NE(error_of("dp=9").find("9 replicas share a batch of 8"), std::string::npos) << error_of("dp=9");
}

}  // namespace
}  // namespace trireme
