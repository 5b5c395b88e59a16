#include "trainer/attention_entropy.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/self_communicator.h"

namespace trireme {
namespace {

// Shows the observer an attention of two heads that looks alike at all that it sees: its queries are 0.
void look(AttentionObserver& observer, AttentionKind kind, std::int64_t length, bool causal) {
  std::vector<float> zeros(static_cast<std::size_t>(length * 2 * 3), 0.0F);
  const Tensor x(zeros.data(), DType::kFloat32, {1, length, 2, 3});
  observer.observe(kind, x, x, {.scale = 1.0F, .causal = causal}, Stream());
}

double log_mean(std::int64_t length) {
  double sum = 0.0;
  for (std::int64_t t = 1; t <= length; ++t) sum += std::log(static_cast<double>(t));
  return sum / static_cast<double>(length);
}

TEST(MeanAttentionEntropies, AreMeansOverSequences) {
  SelfCommunicator alone;
  const AttentionEntropies found = mean_attention_entropies(
      2,
      [](std::int64_t i, AttentionObserver& observer) {
        look(observer, AttentionKind::kEncoder, 5, false);
        look(observer, AttentionKind::kDecoder, 3 + i, true);
        look(observer, AttentionKind::kDecoder, 4, false);
      },
      alone);
  const auto& encoder = found.layers[static_cast<std::size_t>(AttentionKind::kEncoder)];
  const auto& decoder = found.layers[static_cast<std::size_t>(AttentionKind::kDecoder)];
  EXPECT_TRUE(found.layers[static_cast<std::size_t>(AttentionKind::kCross)].empty());
  ASSERT_EQ(encoder.size(), 1U);
  ASSERT_EQ(decoder.size(), 2U);
  for (std::size_t head = 0; head < 2; ++head) {
    EXPECT_NEAR(encoder[0].at(head), std::log(5.0), 1e-6);
    EXPECT_NEAR(decoder[0].at(head), (log_mean(3) + log_mean(4)) / 2.0, 1e-6);
    EXPECT_NEAR(decoder[1].at(head), std::log(4.0), 1e-6);
  }
  EXPECT_FALSE(found.empty());
}

// As a model does that decides itself how often it goes through a layer.
TEST(MeanAttentionEntropies, CountALayerWhereItWasGoneThrough) {
  SelfCommunicator alone;
  const AttentionEntropies found = mean_attention_entropies(
      3,
      [](std::int64_t i, AttentionObserver& observer) {
        for (std::int64_t layer = 0; layer <= i; ++layer)
          look(observer, AttentionKind::kDecoder, 2 + i + layer, false);
      },
      alone);
  const auto& decoder = found.layers[static_cast<std::size_t>(AttentionKind::kDecoder)];
  ASSERT_EQ(decoder.size(), 3U);
  EXPECT_NEAR(decoder[0][0], (std::log(2.0) + std::log(3.0) + std::log(4.0)) / 3.0, 1e-6);
  EXPECT_NEAR(decoder[1][1], (std::log(4.0) + std::log(5.0)) / 2.0, 1e-6);
  EXPECT_NEAR(decoder[2][0], std::log(6.0), 1e-6);
}

TEST(MeanAttentionEntropies, OfNothing) {
  SelfCommunicator alone;
  const auto never = [](std::int64_t, AttentionObserver&) { FAIL() << "there is no sequence"; };
  EXPECT_TRUE(mean_attention_entropies(0, never, alone).empty());
}

}  // namespace
}  // namespace trireme
