#include "kernels/rng.h"

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/random.h"
#include "tests/kernels/operand.h"

namespace trireme {
namespace {

// Known answers of the generator's authors (Random123, kat_vectors: philox4x32, 10 rounds).
TEST(Philox, KnownAnswers) {
  constexpr std::uint64_t kOnes = ~std::uint64_t{0};
  EXPECT_EQ(philox(0, 0, 0), (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(kOnes, kOnes, kOnes),
            (std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox(0x299f31d0a4093822u, 0x85a308d3243f6a88u, 0x0370734413198a2eu),
            (std::array<std::uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Uniform, LiesInItsRange) {
  EXPECT_EQ(uniform(0), 0.0F);
  EXPECT_LT(uniform(0xFFFFFFFF), 1.0F);
  EXPECT_EQ(uniform(0x80000000), 0.5F);
}

TEST(Normal, HasTheMomentsOfTheNormalDistribution) {
  constexpr int kCount = 200000;
  double mean = 0.0;
  double second = 0.0;
  double fourth = 0.0;
  int beyond_two = 0;
  for (std::uint64_t n = 0; n < kCount; ++n) {
    const double x = normals(42, n / 4)[n % 4];
    ASSERT_TRUE(std::isfinite(x));
    mean += x / kCount;
    second += x * x / kCount;
    fourth += x * x * x * x / kCount;
    beyond_two += std::abs(x) > 2.0;
  }
  EXPECT_NEAR(mean, 0.0, 0.01);
  EXPECT_NEAR(second, 1.0, 0.02);
  EXPECT_NEAR(fourth, 3.0, 0.15);
  EXPECT_NEAR(static_cast<double>(beyond_two) / kCount, 0.0455, 0.003);
}

TEST(FillNormal, IsWhatEachIndexDraws) {
  for (const std::int64_t n : {1, 3, 4, 70001}) {
    const Operand x = Operand::poisoned({n});
    fill_normal(x, 0.5F, 9, 0, {});
    reference::Array expected;
    for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(n); ++i) {
      expected.push_back(0.5 * static_cast<double>(normals(9, i / 4)[i % 4]));
    }
    x.expect_near(expected, 0.0, "x");
  }
  for (const std::int64_t first : {1LL, 2LL, 3LL, 4LL, 1234567LL, 1LL << 40 | 3}) {
    const Operand x = Operand::poisoned({20001});  // more than threads take at once
    fill_normal(x, 1.0F, 9, first, {});
    const std::vector<float> drawn = x.floats();
    for (std::int64_t i = 0; i < std::ssize(drawn); ++i) {
      const auto index = static_cast<std::uint64_t>(first + i);
      EXPECT_EQ(drawn[static_cast<std::size_t>(i)], normals(9, index / 4)[index % 4]) << first << " + " << i;
    }
  }
  expect_same_for_any_threads([] {
    const Operand x = Operand::poisoned({100003});
    fill_normal(x, 1.0F, 3, 0, {});
    return x.floats();
  });
}

TEST(KeyOf, SeparatesNamesAndSeeds) {
  std::set<std::uint64_t> keys;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    for (int layer = 0; layer < 20; ++layer) keys.insert(key_of(seed, "blocks." + std::to_string(layer)));
  }
  EXPECT_EQ(keys.size(), 400U);
  EXPECT_EQ(key_of(1, "x"), key_of(1, "x"));
}

}  // namespace
}  // namespace trireme
