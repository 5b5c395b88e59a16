// The training trajectories of small models of many shapes against PyTorch in double precision
// (golden/make_language_model.py).

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "kernels/elementwise.h"
#include "parallel/gradient_reducer.h"
#include "parallel/self_communicator.h"
#include "tests/trainer/golden/golden.h"
#include "trainer/model/transformer.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/grad_norm.h"
#include "trainer/optim/lr_schedule.h"

namespace trireme {
namespace {

constexpr std::int64_t kBatch = 3;
constexpr std::int64_t kContext = 17;
constexpr std::int64_t kVocabulary = 67;
constexpr std::int64_t kSteps = 20;

std::int32_t token(std::int64_t step, std::int64_t row, std::int64_t position) {
  return static_cast<std::int32_t>(((row + 2) * (position + step % 2) + position * position / 5) %
                                   kVocabulary);
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
  const auto golden = golden_of("language_model.json", GetParam());
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
  GradientNorm gradient_norm({{0, model.parameters().num_elements()}}, {});
  SelfCommunicator communicator;
  GradientReducer reducer(model.parameters(), communicator, 1 << 14);
  const Stream stream;

  float loss_sum = 0.0F;
  const Tensor loss(&loss_sum, DType::kFloat32, {1});
  std::vector<std::int32_t> inputs(kBatch * kContext);
  std::vector<std::int32_t> targets(kBatch * kContext);
  const Tensor tokens_BT(inputs.data(), DType::kInt32, {kBatch, kContext});
  const Tensor targets_BT(targets.data(), DType::kInt32, {kBatch, kContext});
  std::vector<std::int32_t> documents(kBatch * kContext);
  std::vector<std::int32_t> positions(kBatch * kContext);
  Pass pass{.batch = kBatch, .sequence = kContext, .ponder_cost = 0.05F};
  if (golden.at("options").contains("is_packed")) {
    for (std::int32_t i = 0; i < kBatch * kContext; ++i) {
      const std::int32_t row = i / kContext, t = i % kContext;
      documents[static_cast<std::size_t>(i)] = (t + 2 * row) / 5;
      positions[static_cast<std::size_t>(i)] = std::min(t, (t + 2 * row) % 5);
    }
    pass.documents_BT = {documents.data(), DType::kInt32, {kBatch, kContext}};
    pass.positions_BT = {positions.data(), DType::kInt32, {kBatch, kContext}};
  }

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
    const Tensor gradients = model.parameters().gradients();
    optimizer.set_learning_rate(learning_rate_at(config, step, kSteps), stream);
    optimizer.step(gradients, gradient_norm.squared(gradients, stream), loss, stream);
    const double norm = *optimizer.gradient_norm().data<float>();

    expect_golden_step(golden, step, loss_sum / (kBatch * kContext), norm);
  }

  // Key biases, unless RoPE turns them.
  const std::int64_t keys = options.heads * options.head_width;
  expect_golden_sums(golden, model.parameters(), [&](const Parameter& parameter, std::int64_t i) {
    return parameter.name.ends_with("qkv.bias") && options.positions != Positions::kRope && keys <= i &&
           i < keys + options.kv_heads * options.head_width;
  });
}

INSTANTIATE_TEST_SUITE_P(, LanguageModelGolden,
                         testing::Values("gpt2", "llama", "qwen2", "paper", "alibi", "window", "geglu",
                                         "linear", "llama3_bounds", "yarn_bounds", "packed_gpt2",
                                         "packed_llama", "packed_paper", "packed_alibi", "looped",
                                         "looped_paper", "halting", "halting_paper"),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace trireme
