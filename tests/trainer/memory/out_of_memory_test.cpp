// What a training on a device without room for it says at its end: what took how much, and what to change.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/stream.h"
#include "trainer/config.h"
#include "trainer/model/transformer.h"
#include "trainer/optim/adamw.h"

namespace trireme {
namespace {

using testing::ContainsRegex;

constexpr Device kGpu{DeviceType::kCuda, 0};
constexpr const char* kRow = " MiB  ";

// 16 layers of it are about 50 MiB of parameters.
TransformerOptions options(std::int64_t layers) {
  return {.layers = layers,
          .width = 256,
          .heads = 4,
          .kv_heads = 4,
          .head_width = 64,
          .feed_forward = 1024,
          .context = 64,
          .vocabulary = 100,
          .init_stddev = 0.02F};
}

std::string asked_for(const std::string& what) {
  return "out of memory on cuda:0: [0-9]+ bytes .[0-9.]+ MiB. were asked for, for " + what +
         "; of 64.0 MiB there are\n";
}

TEST(OutOfMemoryDeathTest, OfParametersAndGradients) {
  const DeviceStream stream(kGpu);
  const auto make = [&] {
    Transformer(options(16), ParameterMemory::kValuesAndGradients, {.stream = stream});
  };
  EXPECT_DEATH(make(),
               ContainsRegex(asked_for("gradients") + " +[0-9.]+" + kRow +
                             "parameters\n(.*\n)*To need less:\n  gradients: set parallel.zero to 2"));
}

TEST(OutOfMemoryDeathTest, OfMoments) {
  const DeviceStream stream(kGpu);
  Transformer model(options(6), ParameterMemory::kValuesAndGradients, {.stream = stream});
  const auto make = [&] { AdamW(model.parameters(), OptimConfig{}); };
  EXPECT_DEATH(make(), ContainsRegex(asked_for("optimizer moments") +
                                     "(.*\n)*To need less:\n  optimizer moments: set parallel.zero to 1"));
}

TEST(OutOfMemoryDeathTest, OfActivations) {
  const DeviceStream stream(kGpu);
  Transformer model(options(2), ParameterMemory::kValuesAndGradients, {.stream = stream});
  const auto allocate = [&] { model.allocate({.batch = 32, .sequence = 64, .training = true}); };
  EXPECT_DEATH(allocate(),
               ContainsRegex(asked_for("activations") + " +[0-9.]+" + kRow + "gradients\n +[0-9.]+" + kRow +
                             "parameters\n(.*\n)*To need less:\n  activations: lower "
                             "train.microbatch_sequences .*train.recompute"));
}

}  // namespace
}  // namespace trireme
