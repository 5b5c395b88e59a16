// The training trajectories of small models of many shapes against PyTorch in double precision
// (golden/make_language_model.py).

#include <cmath>
#include <fstream>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "kernels/elementwise.h"
#include "parallel/gradient_reducer.h"
#include "parallel/self_communicator.h"
#include "trainer/model/transformer.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/grad_clip.h"
#include "trainer/optim/lr_schedule.h"

namespace trireme {
namespace {

constexpr std::int64_t kBatch = 3;
constexpr std::int64_t kContext = 17;
constexpr std::int64_t kVocabulary = 67;
constexpr std::int64_t kSteps = 20;
constexpr double kTolerance = 1e-5;

std::int32_t token(std::int64_t step, std::int64_t row, std::int64_t position) {
  return static_cast<std::int32_t>(((row + 2) * (position + step % 2) + position * position / 5) %
                                   kVocabulary);
}

void expect_near_relative(double actual, double expected, const std::string& what) {
  EXPECT_LE(std::abs(actual - expected), kTolerance * std::abs(expected))
      << what << ": " << actual << " against " << expected;
}

nlohmann::json golden_of(const std::string& name) {
  std::ifstream file(TRIREME_GOLDEN_DIR "/language_model.json");
  return nlohmann::json::parse(file).at(name);
}

TransformerOptions options_of(nlohmann::json golden) {
  nlohmann::json options = golden.at("options");
  options.update({{"layers", 2},
                  {"width", 48},
                  {"context", kContext},
                  {"vocabulary", kVocabulary},
                  {"init_stddev", 0.08},
                  {"dropout", 0.0}});
  return TransformerOptions::from_json(options.dump(), "golden");
}

class LanguageModelGolden : public testing::TestWithParam<const char*> {};

TEST_P(LanguageModelGolden, TwentyStepsFollowPyTorch) {
  const auto golden = golden_of(GetParam());
  const TransformerOptions options = options_of(golden);
  Transformer model(options);
  model.parameters().initialize(11);
  model.allocate({.batch = kBatch, .sequence = kContext, .training = true});
  const OptimConfig config{.learning_rate = 3e-3,
                           .min_learning_rate = 3e-4,
                           .schedule = "cosine",
                           .warmup_steps = 4,
                           .beta1 = 0.9,
                           .beta2 = 0.95,
                           .epsilon = 1e-8,
                           .weight_decay = 0.1,
                           .grad_clip = 1.0};
  AdamW optimizer(model.parameters(), config);
  GradientClip clip(config.grad_clip);
  SelfCommunicator communicator;
  GradientReducer reducer(model.parameters(), communicator, 1 << 14);
  const Stream stream;

  float loss_sum = 0.0F;
  const Tensor loss(&loss_sum, DType::kFloat32, {1});
  std::vector<std::int32_t> inputs(kBatch * kContext);
  std::vector<std::int32_t> targets(kBatch * kContext);
  const Tensor tokens_BT(inputs.data(), DType::kInt32, {kBatch, kContext});
  const Tensor targets_BT(targets.data(), DType::kInt32, {kBatch, kContext});
  const Pass pass{.batch = kBatch, .sequence = kContext};

  for (std::int64_t step = 0; step < kSteps; ++step) {
    for (std::int64_t row = 0; row < kBatch; ++row) {
      for (std::int64_t t = 0; t < kContext; ++t) {
        const auto i = static_cast<std::size_t>(row * kContext + t);
        inputs[i] = token(step, row, t);
        targets[i] = token(step, row, t + 1);
      }
    }
    fill(model.parameters().gradients(), 0.0F, stream);
    loss_sum = 0.0F;
    reducer.begin(/*is_last_microbatch=*/true);
    model.forward_backward(loss, tokens_BT, targets_BT, 1.0F / (kBatch * kContext), reducer, pass);
    reducer.finish(stream);
    const double norm = clip.measure(model.parameters().gradients(), stream);
    optimizer.step(clip.scale(), learning_rate_at(config, step, kSteps), step + 1, stream);

    const std::string name = "step " + std::to_string(step);
    expect_near_relative(loss_sum / (kBatch * kContext), golden["losses"][static_cast<std::size_t>(step)],
                         name + ", loss");
    // The norm, a difference of large sums, is held to a little less.
    EXPECT_NEAR(norm / golden["gradient_norms"][static_cast<std::size_t>(step)].get<double>(), 1.0, 1e-4)
        << name;
  }

  EXPECT_EQ(golden["sums_of_magnitudes"].size(), model.parameters().parameters().size());
  for (const Parameter& parameter : model.parameters().parameters()) {
    double sum = 0.0;
    const float* value = parameter.value.data<float>();
    // Key biases get no gradient but rounding noise, unless RoPE turns them (see the generator).
    const bool is_without_keys =
        parameter.name.ends_with("qkv.bias") && options.positions != Positions::kRope;
    const std::int64_t keys = options.heads * options.head_width;
    for (std::int64_t i = 0; i < parameter.value.num_elements(); ++i) {
      const bool is_key = keys <= i && i < keys + options.kv_heads * options.head_width;
      if (!is_without_keys || !is_key) sum += std::abs(value[i]);
    }
    EXPECT_NEAR(sum / golden["sums_of_magnitudes"].at(parameter.name).get<double>(), 1.0, 1e-3)
        << parameter.name;
  }
}

INSTANTIATE_TEST_SUITE_P(, LanguageModelGolden,
                         testing::Values("gpt2", "llama", "qwen2", "paper", "alibi", "window", "geglu"),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace trireme
