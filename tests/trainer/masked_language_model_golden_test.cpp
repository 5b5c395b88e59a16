// The training trajectories of small encoders, on padded batches of sequences of unequal lengths, against
// PyTorch in double precision (golden/make_masked_language_model.py).

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "kernels/elementwise.h"
#include "kernels/padding.h"
#include "parallel/gradient_reducer.h"
#include "parallel/self_communicator.h"
#include "tests/trainer/golden/golden.h"
#include "trainer/model/masked_language_model.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/grad_norm.h"
#include "trainer/optim/lr_schedule.h"

namespace trireme {
namespace {

constexpr std::int64_t kVocabulary = 67;
constexpr std::int64_t kSteps = 20;
constexpr std::int64_t kBatch = 4;
constexpr std::int64_t kContext = 17;
constexpr std::int32_t kLengths[2][kBatch] = {{17, 9, 1, 13}, {5, 17, 11, 16}};

// Sequences, padded with tokens of another kind.
struct Sequences {
  Sequences(std::int64_t step, std::int64_t num_types)
      : lengths(kLengths[step % 2], kLengths[step % 2] + kBatch),
        tokens(kBatch * kContext, 3),
        types(kBatch * kContext, 0),
        documents(kBatch * kContext) {
    for (std::int64_t row = 0; row < kBatch; ++row) {
      const std::int64_t length = lengths[static_cast<std::size_t>(row)];
      for (std::int64_t t = 0; t < length; ++t) {
        const auto i = static_cast<std::size_t>(row * kContext + t);
        tokens[i] = static_cast<std::int32_t>(((row + 2) * (t + step % 2) + t * t / 5) % kVocabulary);
        types[i] = static_cast<std::int32_t>((t / 3 + row) % std::max<std::int64_t>(1, num_types));
      }
      for (std::int64_t t = row % 3 % length; t < length; t += 4) {
        rows.push_back(static_cast<std::int32_t>(row * kContext + t));
        targets.push_back(
            static_cast<std::int32_t>((tokens[static_cast<std::size_t>(rows.back())] + t + 1) % kVocabulary));
      }
    }
    mark_padding(tensor(documents, {kBatch, kContext}), tensor(lengths, {kBatch}), /*padding=*/1, {});
  }
  static Tensor tensor(std::vector<std::int32_t>& numbers, Shape shape) {
    return {numbers.data(), DType::kInt32, shape};
  }
  Tensor padded(std::vector<std::int32_t>& numbers) { return tensor(numbers, {kBatch, kContext}); }
  std::int64_t num_targets() const { return static_cast<std::int64_t>(targets.size()); }
  MaskedTokens masked() {
    return {.rows_M = tensor(rows, {num_targets()}), .targets_M = tensor(targets, {num_targets()})};
  }

  std::vector<std::int32_t> lengths, tokens, types, documents, rows, targets;
};

TransformerOptions options_of(nlohmann::json golden) {
  nlohmann::json options = golden.at("options");
  options.update({{"kind", "encoder"},
                  {"layers", 2},
                  {"width", 48},
                  {"context", kContext},
                  {"vocabulary", kVocabulary},
                  {"init_stddev", 0.08},
                  {"dropout", 0.0}});
  return TransformerOptions::from_json(options.dump(), "golden");
}

class MaskedLanguageModelGolden : public testing::TestWithParam<const char*> {};

TEST_P(MaskedLanguageModelGolden, TwentyStepsFollowPyTorch) {
  const auto golden = golden_of("masked_language_model.json", GetParam());
  const TransformerOptions options = options_of(golden);
  MaskedLanguageModel model(options);
  model.parameters().initialize(11);
  model.allocate({.batch = kBatch, .sequence = kContext, .training = true}, kBatch * kContext);
  const OptimConfig config{.learning_rate = 3e-3,
                           .min_learning_rate = 3e-4,
                           .schedule = "cosine",
                           .warmup_steps = 4,
                           .beta1 = 0.9,
                           .beta2 = 0.95,
                           .epsilon = 1e-8,
                           .weight_decay = 0.1,
                           .grad_clip = 0.0};
  AdamW optimizer(model.parameters(), config);
  GradientNorm gradient_norm({{0, model.parameters().num_elements()}}, {});
  SelfCommunicator communicator;
  GradientReducer reducer(model.parameters(), communicator, 1 << 14);
  const Stream stream;

  for (std::int64_t step = 0; step < kSteps; ++step) {
    Sequences sequences(step, options.token_types);
    const Pass pass{.batch = kBatch,
                    .sequence = kContext,
                    .documents_BT = sequences.padded(sequences.documents),
                    .token_types_BT = sequences.padded(sequences.types)};
    fill(model.parameters().gradients(), 0.0F, stream);
    float loss = 0.0F;
    reducer.begin(/*is_last_microbatch=*/true);
    model.forward_backward({&loss, DType::kFloat32, {1}}, sequences.padded(sequences.tokens),
                           sequences.masked(), 1.0F / static_cast<float>(sequences.num_targets()), reducer,
                           pass);
    reducer.finish(stream);
    const Tensor gradients = model.parameters().gradients();
    optimizer.set_learning_rate(learning_rate_at(config, step, kSteps), stream);
    optimizer.step(gradients, gradient_norm.squared(gradients, stream), {&loss, DType::kFloat32, {1}},
                   stream);
    const double norm = *optimizer.gradient_norm().data<float>();
    expect_golden_step(golden, step, loss / static_cast<double>(sequences.num_targets()), norm);
  }

  // Key biases, unless RoPE turns them.
  const std::int64_t keys = options.heads * options.head_width;
  expect_golden_sums(golden, model.parameters(), [&](const Parameter& parameter, std::int64_t i) {
    return parameter.name.ends_with("qkv.bias") && options.positions != Positions::kRope && keys <= i &&
           i < keys + options.kv_heads * options.head_width;
  });
}

INSTANTIATE_TEST_SUITE_P(, MaskedLanguageModelGolden, testing::Values("bert", "modern", "plain"),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace trireme
