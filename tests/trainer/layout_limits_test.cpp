#include "trainer/layout_limits.h"

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "data/user_error.h"

namespace trireme {
namespace {

constexpr int kRanks = 16;

// What is wrong with a model on so many tensor ranks; empty: nothing.
std::string error_of(int tensor_ranks, const std::vector<std::string>& overrides) {
  const Config config = parse_config(
      "run.directory = 'r'\ndata.path = 'd'\ntrain.batch_sequences = 8\nmodel.width = 48\nmodel.head_width = "
      "4",
      "run.toml", overrides);
  try {
    check_layout(config, MeshLayout({.data = 0, .tensor = tensor_ranks}, kRanks));
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(LayoutLimits, HeadsAreSharedEvenly) {
  EXPECT_EQ(error_of(4, {"model.heads=8"}), "");
  EXPECT_EQ(
      error_of(4, {"model.heads=6"}),
      "parallel.tensor: parallel.tensor = 4 ranks cannot share model.heads = 6 evenly; for example 3 or 6");
  EXPECT_EQ(error_of(8, {"model.heads=2"}),
            "parallel.tensor: parallel.tensor = 8 ranks cannot share model.heads = 2 evenly; for example 2");
}

TEST(LayoutLimits, HeadsOfKeysAreSharedEvenlyOrByAsManyRanksEach) {
  for (const int ranks : {2, 4, 8}) EXPECT_EQ(error_of(ranks, {"model.heads=8", "model.kv_heads=2"}), "");
  EXPECT_EQ(
      error_of(4, {"model.heads=12", "model.kv_heads=6"}),
      "parallel.tensor: parallel.tensor = 4 and model.kv_heads = 6: neither is a multiple of the other; "
      "for example 3 or 6");
}

TEST(LayoutLimits, WholeModelsStayWhole) {
  const std::vector<std::string> pairs = {"model.kind=encoder_decoder", "train.batch_sequences=0",
                                          "train.batch_tokens=600", "train.eval_translations=4"};
  for (const auto& [overrides, named] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"model.kind=encoder"}, "model.kind = \"encoder\""},
           {{"model.loops=2"}, "model.loops = 2"},
           {{"train.eval_attention=1"}, "train.eval_attention"},
           {pairs, "train.eval_translations"}}) {
    EXPECT_EQ(error_of(1, overrides), "") << named;
    EXPECT_EQ(
        error_of(2, overrides).rfind("parallel.tensor: parallel.tensor = 2 does not go with " + named, 0), 0U)
        << error_of(2, overrides);
  }
}

}  // namespace
}  // namespace trireme
