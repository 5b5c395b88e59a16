#include "parallel/layer_partition.h"

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace trireme {
namespace {

std::vector<int> sizes(const std::vector<LayerRange>& ranges) {
  std::vector<int> sizes;
  int begin = 0;
  for (const LayerRange& range : ranges) {
    EXPECT_EQ(range.begin, begin);
    begin = range.end;
    sizes.push_back(range.size());
  }
  return sizes;
}

std::vector<int> balanced(const std::vector<double>& costs, int num_parts) {
  return sizes(share_layers(costs, num_parts));
}

TEST(LayerPartitionTest, TakesCountsAsGiven) {
  const std::vector<int> counts{3, 1, 2};
  EXPECT_EQ(share_layers(counts), (std::vector<LayerRange>{{0, 3}, {3, 4}, {4, 6}}));
}

TEST(LayerPartitionTest, EqualLayersAreSharedEvenlyWithTheFullestFirst) {
  EXPECT_EQ(balanced(std::vector<double>(8, 1.0), 4), (std::vector<int>{2, 2, 2, 2}));
  EXPECT_EQ(balanced(std::vector<double>(10, 0.1), 4), (std::vector<int>{3, 3, 2, 2}));
  EXPECT_EQ(balanced(std::vector<double>(3, 1.0), 3), (std::vector<int>{1, 1, 1}));
  EXPECT_EQ(balanced(std::vector<double>(5, 1.0), 1), (std::vector<int>{5}));
}

TEST(LayerPartitionTest, HeadAndEmbeddingCountAsLayersDo) {
  std::vector<double> costs(12, 1.0);
  costs.back() += 2.0;  // the loss over a large vocabulary
  EXPECT_EQ(balanced(costs, 4), (std::vector<int>{4, 4, 3, 1}));
  EXPECT_EQ(balanced({9.0, 1.0, 1.0, 1.0}, 2), (std::vector<int>{1, 3}));
}

// The most expensive part, and then the sum of squares, of the best of all partitions.
struct Score {
  double worst = std::numeric_limits<double>::infinity();
  double squares = std::numeric_limits<double>::infinity();
  auto operator<=>(const Score&) const = default;
};

Score score_of(const std::vector<double>& costs, const std::vector<int>& sizes) {
  Score score{0.0, 0.0};
  auto layer = costs.begin();
  for (const int size : sizes) {
    double cost = 0.0;
    for (int i = 0; i < size; ++i) cost += *layer++;
    score.worst = std::max(score.worst, cost);
    score.squares += cost * cost;
  }
  return score;
}

Score best_of_all(const std::vector<double>& costs, std::vector<int>& sizes, int num_parts) {
  int used = 0;
  for (const int size : sizes) used += size;
  const int left = static_cast<int>(costs.size()) - used;
  if (num_parts == 1) {
    sizes.push_back(left);
    const Score score = score_of(costs, sizes);
    sizes.pop_back();
    return score;
  }
  Score best;
  for (int size = 1; size <= left - (num_parts - 1); ++size) {
    sizes.push_back(size);
    best = std::min(best, best_of_all(costs, sizes, num_parts - 1));
    sizes.pop_back();
  }
  return best;
}

TEST(LayerPartitionTest, NoPartitionIsBetter) {
  std::mt19937 generator(7);
  for (int trial = 0; trial < 200; ++trial) {
    const int num_layers = 1 + static_cast<int>(generator() % 10);
    const int num_parts = 1 + static_cast<int>(generator() % static_cast<unsigned>(num_layers));
    std::vector<double> costs(static_cast<std::size_t>(num_layers));
    for (double& cost : costs) cost = static_cast<double>(generator() % 9);  // 0 is legal; sums are exact
    std::vector<int> none;
    const Score best = best_of_all(costs, none, num_parts);
    const Score found = score_of(costs, balanced(costs, num_parts));
    EXPECT_EQ(found.worst, best.worst);
    EXPECT_EQ(found.squares, best.squares);
  }
}

TEST(LayerPartitionTest, SaysWhatWouldFit) {
  EXPECT_FALSE(why_not_share(4, 4));
  EXPECT_EQ(why_not_share(3, 4),
            "the model has 3 layers for 4 parts of the pipeline, and each needs one; at most 3 parts fit");
  const std::vector<int> counts{2, 2};
  EXPECT_FALSE(why_not_share(4, 2, counts));
  EXPECT_EQ(why_not_share(5, 2, counts),
            "the parts of the pipeline have 4 layers and the model has 5; let the counts add up to that");
  EXPECT_EQ(why_not_share(5, 3, counts), "2 counts of layers for 3 parts of the pipeline; give 3");
  EXPECT_EQ(why_not_share(4, 2, std::vector<int>{4, 0}),
            "a part of the pipeline has no layer; give each 1 or more");
}

}  // namespace
}  // namespace trireme
