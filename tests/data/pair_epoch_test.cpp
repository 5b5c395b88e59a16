#include "data/pair_epoch.h"

#include <cmath>
#include <random>
#include <set>

#include <gtest/gtest.h>

namespace trireme {
namespace {

// Lengths as in a corpus: about log-normal, with targets like their sources.
std::vector<PairLengths> made_up_lengths(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> length(2.7, 0.8);
  std::lognormal_distribution<double> ratio(0.05, 0.25);
  const auto clamped = [](double x) { return static_cast<std::uint16_t>(std::clamp(x, 1.0, 200.0)); };
  std::vector<PairLengths> lengths;
  for (std::size_t i = 0; i < count; ++i) {
    const double source = length(random);
    lengths.push_back({clamped(source), clamped(source * ratio(random))});
  }
  return lengths;
}

std::vector<std::vector<std::uint32_t>> batches_of(const PairEpoch& epoch) {
  std::vector<std::vector<std::uint32_t>> batches;
  for (std::int64_t i = 0; i < epoch.num_batches(); ++i)
    batches.emplace_back(epoch.pairs(i).begin(), epoch.pairs(i).end());
  return batches;
}

std::int64_t longest_of(std::span<const PairLengths> lengths, std::span<const std::uint32_t> pairs) {
  std::int64_t longest = 0;
  for (const std::uint32_t pair : pairs) longest = std::max(longest, longer_side(lengths[pair]));
  return longest;
}

TEST(PairEpoch, EveryPairOnceInBatchesThatFit) {
  for (const std::size_t count : {1, 2, 3, 10, 99, 100, 101, 500, 3000}) {
    const std::vector<PairLengths> lengths = made_up_lengths(count, count);
    for (const std::int64_t batch_tokens : {201, 402, 1000, 5000, 1000000}) {
      const PairEpoch epoch(lengths, batch_tokens, 1, 2);
      std::vector<int> seen(count);
      std::int64_t begin = 0;
      for (std::int64_t i = 0; i < epoch.num_batches(); ++i) {
        const auto pairs = epoch.pairs(i);
        ASSERT_EQ(epoch.begin(i), begin);
        begin += static_cast<std::int64_t>(pairs.size());
        const std::int64_t rows = static_cast<std::int64_t>(pairs.size());
        ASSERT_LE(rows * longest_of(lengths, pairs), batch_tokens);
        // What PairLoader builds on.
        if (epoch.num_batches() > 1) {
          ASSERT_GE(rows, std::max<std::int64_t>(1, batch_tokens / 201 / 2)) << count;
        }
        for (const std::uint32_t pair : pairs) ++seen[pair];
      }
      ASSERT_EQ(seen, std::vector<int>(count, 1));
    }
  }
}

TEST(PairEpoch, ExtremeLengthsHaveTheirCells) {
  std::vector<PairLengths> lengths;
  for (const std::uint16_t source : {1, 2, 30, 31, 32, 33, 1000, 65534, 65535})
    for (const std::uint16_t target : {1, 2, 30, 31, 32, 33, 1000, 65534, 65535})
      lengths.push_back({source, target});
  const PairEpoch epoch(lengths, 65536, 0, 0);
  std::set<std::uint32_t> seen;
  for (const auto& batch : batches_of(epoch)) seen.insert(batch.begin(), batch.end());
  EXPECT_EQ(seen.size(), lengths.size());
}

TEST(PairEpoch, AFewPairsAreLeftWithMoreCompany) {
  const std::vector<PairLengths> lengths(21, {9, 9});
  const PairEpoch epoch(lengths, 100, 0, 0);  // ten fit
  std::multiset<std::size_t> sizes;
  for (const auto& batch : batches_of(epoch)) sizes.insert(batch.size());
  EXPECT_EQ(sizes, (std::multiset<std::size_t>{5, 6, 10}));
}

TEST(PairEpoch, IsAPureFunctionOfSeedAndEpoch) {
  const std::vector<PairLengths> lengths = made_up_lengths(2000, 3);
  const auto epoch = [&](std::uint64_t seed, std::int64_t number) {
    return batches_of(PairEpoch(lengths, 1000, seed, number));
  };
  EXPECT_EQ(epoch(7, 5), epoch(7, 5));
  EXPECT_NE(epoch(7, 5), epoch(7, 6));
  EXPECT_NE(epoch(7, 5), epoch(8, 5));
}

// The order is fixed for ever: runs of yesterday go on with the same data today.
TEST(PairEpoch, TheOrderIsTheOneItHasAlwaysBeen) {
  std::vector<PairLengths> lengths;
  for (std::uint16_t i = 0; i < 12; ++i)
    lengths.push_back({static_cast<std::uint16_t>(1 + i % 4), static_cast<std::uint16_t>(1 + i % 3)});
  EXPECT_EQ(batches_of(PairEpoch(lengths, 16, 1234, 1)),
            (std::vector<std::vector<std::uint32_t>>{{4, 0}, {6, 9, 1}, {3, 7, 11}, {8, 5, 2, 10}}));
}

TEST(PairEpoch, LittleIsPadding) {
  const std::vector<PairLengths> lengths = made_up_lengths(50000, 4);
  const PairEpoch epoch(lengths, 4096, 1, 0);
  double tokens = 0.0;
  double padded = 0.0;
  for (const auto& batch : batches_of(epoch)) {
    std::int64_t source = 0;
    std::int64_t target = 0;
    for (const std::uint32_t pair : batch) {
      source = std::max<std::int64_t>(source, lengths[pair].source + 1);
      target = std::max<std::int64_t>(target, lengths[pair].target + 1);
      tokens += lengths[pair].source + lengths[pair].target + 2;
    }
    padded += static_cast<double>(batch.size()) * static_cast<double>(source + target);
  }
  EXPECT_LT(1.0 - tokens / padded, 0.07);
  EXPECT_GT(padded / (2.0 * 4096.0 * static_cast<double>(epoch.num_batches())), 0.88)
      << "batches aren't full";
}

TEST(PairEpoch, BatchesComeInRandomOrderAndPairsInRandomCompany) {
  const std::vector<PairLengths> lengths = made_up_lengths(50000, 5);
  const auto one = batches_of(PairEpoch(lengths, 1000, 1, 0));
  // Lengths of neighbouring batches aren't correlated.
  double mean = 0.0;
  for (const auto& batch : one)
    mean += std::log(longest_of(lengths, batch)) / static_cast<double>(one.size());
  double variance = 0.0;
  double covariance = 0.0;
  double before = 0.0;
  for (const auto& batch : one) {
    const double here = std::log(longest_of(lengths, batch)) - mean;
    variance += here * here;
    covariance += here * std::exchange(before, here);
  }
  EXPECT_LT(std::abs(covariance / variance), 0.1);
  // Of two neighbours in a batch, many are parted in the next epoch.
  std::vector<std::size_t> batch_of(lengths.size());
  const auto two = batches_of(PairEpoch(lengths, 1000, 1, 1));
  for (std::size_t i = 0; i < two.size(); ++i)
    for (const std::uint32_t pair : two[i]) batch_of[pair] = i;
  double together = 0.0;
  double neighbours = 0.0;
  for (const auto& batch : one) {
    for (std::size_t i = 0; i + 1 < batch.size(); ++i) {
      together += batch_of[batch[i]] == batch_of[batch[i + 1]] ? 1.0 : 0.0;
      neighbours += 1.0;
    }
  }
  EXPECT_LT(together / neighbours, 0.5);
}

TEST(PairEpoch, ARunGoesOnAtABatchOrNotAtAll) {
  const std::vector<PairLengths> lengths = made_up_lengths(1000, 6);
  const PairEpoch epoch(lengths, 1000, 1, 0);
  std::int64_t batch = 0;
  for (std::int64_t i = 0; i < 1000; ++i) {
    const auto found = epoch.batch_at(i);
    if (batch < epoch.num_batches() && i == epoch.begin(batch)) {
      EXPECT_EQ(found, batch++);
    } else {
      EXPECT_FALSE(found) << i;
    }
  }
  EXPECT_EQ(batch, epoch.num_batches());
  EXPECT_FALSE(epoch.batch_at(1000)) << "that is the next epoch's first";
}

}  // namespace
}  // namespace trireme
