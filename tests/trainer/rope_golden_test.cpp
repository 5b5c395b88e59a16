// Rope's frequencies against those of `transformers` (golden/make_rope_frequencies.py).

#include <string>

#include <gtest/gtest.h>

#include "tests/trainer/golden/golden.h"
#include "trainer/model/positions.h"
#include "trainer/model/rope_frequencies.h"

namespace trireme {
namespace {

class RopeGolden : public testing::TestWithParam<const char*> {
 protected:
  // What came out of a checkpoint: the options survive its json.
  static TransformerOptions options_of(const nlohmann::json& golden) {
    nlohmann::json json = nlohmann::json::parse(
        TransformerOptions{.layers = 1, .width = 8, .heads = 1, .context = 33, .positions = Positions::kRope}
            .to_json());
    json.update(golden.at("options"));
    const auto read = TransformerOptions::from_json(json.dump(), "golden");
    return TransformerOptions::from_json(read.to_json(), "again");
  }
};

TEST_P(RopeGolden, FrequenciesAreThoseOfTransformers) {
  const auto golden = golden_of("rope_frequencies.json", GetParam());
  const RopeFrequencies frequencies = rope_frequencies(options_of(golden));
  ASSERT_EQ(frequencies.radians.size(), golden.at("radians").size());
  for (std::size_t i = 0; i < frequencies.radians.size(); ++i) {
    expect_near_relative(frequencies.radians[i], golden.at("radians")[i], 2e-6, "pair " + std::to_string(i));
  }
  EXPECT_NEAR(frequencies.amplitude, golden.at("amplitude"), 1e-12);
}

TEST_P(RopeGolden, TablesHoldThem) {
  const TransformerOptions options = options_of(golden_of("rope_frequencies.json", GetParam()));
  const PositionTables tables(options);
  const RopeFrequencies frequencies = rope_frequencies(options);
  const std::int64_t pairs = options.head_width / 2;
  for (std::int64_t p = 0; p < options.context; ++p) {
    for (std::int64_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(p) * frequencies.radians[static_cast<std::size_t>(i)];
      EXPECT_NEAR(tables.rope_cos_PD().data<float>()[p * pairs + i], frequencies.amplitude * std::cos(angle),
                  1e-6);
      EXPECT_NEAR(tables.rope_sin_PD().data<float>()[p * pairs + i], frequencies.amplitude * std::sin(angle),
                  1e-6);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, RopeGolden,
                         testing::Values("linear", "llama3_1", "llama3_2", "llama3_bounds", "yarn_qwen2",
                                         "yarn_bounds", "yarn_short", "yarn_step"),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace trireme
