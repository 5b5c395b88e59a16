// The training trajectories of small encoder-decoders, on padded batches of sentences of unequal lengths,
// against PyTorch in double precision (golden/make_translation.py).

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "kernels/elementwise.h"
#include "parallel/gradient_reducer.h"
#include "parallel/self_communicator.h"
#include "tests/trainer/golden/golden.h"
#include "trainer/model/encoder_decoder.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/grad_norm.h"
#include "trainer/optim/lr_schedule.h"

namespace trireme {
namespace {

constexpr std::int64_t kVocabulary = 67;
constexpr std::int64_t kSteps = 20;
constexpr std::int64_t kBatch = 4;
constexpr std::int64_t kLongest = 14;  // with the end
constexpr std::int64_t kLengths[2][kBatch][2] = {{{12, 9}, {5, 11}, {1, 1}, {8, 3}},
                                                 {{4, 7}, {13, 10}, {7, 7}, {2, 12}}};

// A batch as data/pair_batch.h has it; the end is token 0.
struct Pairs {
  explicit Pairs(std::int64_t step) {
    const auto& lengths = kLengths[step % 2];
    for (const auto& pair : lengths) {
      source_length = std::max(source_length, pair[0] + 1);
      target_length = std::max(target_length, pair[1] + 1);
    }
    sources.assign(static_cast<std::size_t>(kBatch * source_length), 0);
    inputs.assign(static_cast<std::size_t>(kBatch * target_length), 0);
    outputs.assign(static_cast<std::size_t>(kBatch * target_length), -1);
    for (std::int64_t row = 0; row < kBatch; ++row) {
      const auto [num_source, num_target] = std::array{lengths[row][0], lengths[row][1]};
      std::int32_t* const source = &sources[static_cast<std::size_t>(row * source_length)];
      std::int32_t* const input = &inputs[static_cast<std::size_t>(row * target_length)];
      std::int32_t* const output = &outputs[static_cast<std::size_t>(row * target_length)];
      for (std::int64_t s = 0; s < num_source; ++s)
        source[s] = static_cast<std::int32_t>(1 + ((row + 2) * s + s * s / 3) % (kVocabulary - 1));
      for (std::int64_t t = 0; t < num_target; ++t) {
        output[t] =
            static_cast<std::int32_t>(1 + ((row + 3) * t + source[0] + t * t / 5) % (kVocabulary - 1));
        input[t + 1] = output[t];
      }
      output[num_target] = 0;
      source_lengths.push_back(static_cast<std::int32_t>(num_source + 1));
      num_targets += num_target + 1;
    }
  }

  PairTensors tensors() {
    return {.sources_BS = {sources.data(), DType::kInt32, {kBatch, source_length}},
            .source_lengths_B = {source_lengths.data(), DType::kInt32, {kBatch}},
            .target_inputs_BT = {inputs.data(), DType::kInt32, {kBatch, target_length}},
            .target_outputs_BT = {outputs.data(), DType::kInt32, {kBatch, target_length}}};
  }

  std::int64_t source_length = 0;
  std::int64_t target_length = 0;
  std::int64_t num_targets = 0;
  std::vector<std::int32_t> sources, inputs, outputs, source_lengths;
};

TransformerOptions options_of(nlohmann::json golden) {
  nlohmann::json options = golden.at("options");
  options.update({{"kind", "encoder_decoder"},
                  {"layers", 2},
                  {"encoder_layers", 3},
                  {"width", 48},
                  {"context", kLongest},
                  {"vocabulary", kVocabulary},
                  {"init_stddev", 0.08},
                  {"dropout", 0.0}});
  return TransformerOptions::from_json(options.dump(), "golden");
}

class TranslationGolden : public testing::TestWithParam<const char*> {};

TEST_P(TranslationGolden, TwentyStepsFollowPyTorch) {
  const auto golden = golden_of("translation.json", GetParam());
  const TransformerOptions options = options_of(golden);
  EncoderDecoder model(options);
  model.parameters().initialize(11);
  model.allocate({.source_tokens = kBatch * kLongest, .target_tokens = kBatch * kLongest, .training = true});
  const OptimConfig config{.learning_rate = 3e-3,
                           .schedule = "inverse_sqrt",
                           .warmup_steps = 4,
                           .beta1 = 0.9,
                           .beta2 = 0.98,
                           .epsilon = 1e-9,
                           .weight_decay = 0.1,
                           .grad_clip = 0.0};
  AdamW optimizer(model.parameters(), config);
  GradientNorm gradient_norm({{0, model.parameters().num_elements()}}, {});
  SelfCommunicator communicator;
  GradientReducer reducer(model.parameters(), communicator, 1 << 14);
  const Stream stream;
  const Pass pass{.label_smoothing = 0.1F, .ponder_cost = 0.05F};

  for (std::int64_t step = 0; step < kSteps; ++step) {
    Pairs pairs(step);
    fill(model.parameters().gradients(), 0.0F, stream);
    float loss = 0.0F;
    reducer.begin(/*is_last_microbatch=*/true);
    model.forward_backward({&loss, DType::kFloat32, {1}}, pairs.tensors(),
                           1.0F / static_cast<float>(pairs.num_targets), reducer, pass);
    reducer.finish(stream);
    const Tensor gradients = model.parameters().gradients();
    optimizer.set_learning_rate(learning_rate_at(config, step, kSteps), stream);
    optimizer.step(gradients, gradient_norm.squared(gradients, stream), {&loss, DType::kFloat32, {1}},
                   stream);
    const double norm = *optimizer.gradient_norm().data<float>();
    expect_golden_step(golden, step, loss / static_cast<double>(pairs.num_targets), norm);
  }

  // Key biases, unless RoPE turns them.
  const std::int64_t queries = options.heads * options.head_width;
  const std::int64_t keys = options.kv_heads * options.head_width;
  expect_golden_sums(golden, model.parameters(), [&](const Parameter& parameter, std::int64_t i) {
    if (parameter.name.ends_with("key_value.bias")) return i < keys && !options.cross_positions;
    return parameter.name.ends_with("qkv.bias") && options.positions != Positions::kRope && queries <= i &&
           i < queries + keys;
  });
}

INSTANTIATE_TEST_SUITE_P(, TranslationGolden,
                         testing::Values("paper", "modern", "looped", "halting", "cross_positions"),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace trireme
