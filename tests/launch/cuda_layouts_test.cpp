// With device=cuda: the CPU's numbers in every layout, and runs that change layouts and devices.

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/launch/cuda_program.h"

namespace trireme {
namespace {

const Words kLayouts = {"dp=1",
                        "dp=4",
                        "tp=4",
                        "pp=4",
                        "dp=2,tp=2",
                        "pp=2,tp=2",
                        "pp=2,dp=2,schedule=gpipe",
                        "pp=2,dp=2,schedule=zero_bubble",
                        "pp=2,schedule=interleaved,chunks=2",
                        "pp=2,dp=2,zero=1",
                        "dp=4,zero=2",
                        "dp=4,zero=3",
                        "dp=2,tp=2,zero=3",
                        "dp=2,tp=2,zero=1,recompute=full",
                        "dp=2,recompute=selective"};

TEST_F(CudaProgram, TrainsAsTheCpuDoesInEveryLayout) {
  if (lacks(4)) GTEST_SKIP() << "needs 4 GPUs and NCCL";
  expect_the_cpus_numbers(tiny("text"), kLayouts, /*steps=*/2);
}

TEST_F(CudaProgram, DoesSoForTenSteps) {
  expect_the_cpus_numbers(tiny("text"), {"dp=1"}, /*steps=*/10, {}, /*ranks=*/1);
}

// What is not waited for isn't there, and blocks and warps come in another order.
TEST_F(CudaProgram, WaitsForWhatItNeeds) {
  if (lacks(4)) GTEST_SKIP() << "needs 4 GPUs and NCCL";
  expect_the_cpus_numbers(tiny("text"), kLayouts, /*steps=*/1,
                          {"TRIREME_VGPU_STREAMS=lazy", "TRIREME_VGPU_SHUFFLE=7"});
}

TEST_F(CudaProgram, TrainsLlamaWithSharedKeys) {
  if (lacks(4)) GTEST_SKIP() << "needs 4 GPUs and NCCL";
  const Words llama = {"model.norm=rms",         "model.activation=swiglu", "model.positions=rope",
                       "model.biases=none",      "model.kv_heads=2",        "model.tied_embeddings=false",
                       "data.documents=separate"};
  expect_the_cpus_numbers(tiny("text") + llama, {"dp=1", "tp=4", "pp=2,tp=2", "dp=4,zero=3"}, /*steps=*/2);
}

TEST_F(CudaProgram, TrainsAnEncoderDecoder) {
  if (lacks(4)) GTEST_SKIP() << "needs 4 GPUs and NCCL";
  expect_the_cpus_numbers(tiny("pairs"),
                          {"dp=1", "dp=3", "tp=2", "pp=2", "pp=4", "dp=2,tp=2,zero=2", "dp=2,zero=3"},
                          /*steps=*/2);
}

TEST_F(CudaProgram, TrainsAnEncoderAndLoops) {
  if (lacks(4)) GTEST_SKIP() << "needs 4 GPUs and NCCL";
  expect_the_cpus_numbers(
      tiny("text") + Words{"model.kind=encoder", "model.token_types=2", "model.output_transform=true"},
      {"dp=1", "dp=2,zero=3"}, /*steps=*/2);
  expect_the_cpus_numbers(tiny("text") + Words{"model.loops=2", "model.halting=true", "model.layers=2"},
                          {"dp=1", "dp=2"},
                          /*steps=*/2);
}

// One run that is stopped after every step, each of which another layout takes: all resume the checkpoint of
// the one before.
TEST_F(CudaProgram, GoesOnWhereAnotherLayoutStopped) {
  if (lacks(4)) GTEST_SKIP() << "needs 4 GPUs and NCCL";
  const std::map<std::string, std::string> keys = {
      {"dp", "parallel.data"},         {"tp", "parallel.tensor"},         {"pp", "parallel.pipeline"},
      {"zero", "parallel.zero"},       {"schedule", "parallel.schedule"}, {"chunks", "parallel.chunks"},
      {"recompute", "train.recompute"}};
  const auto go_on = [&](const std::string& directory, const std::string& device, const std::string& layout,
                         int steps) {
    Words arguments = training(directory, steps) + Words{"optim.warmup_steps=0", "device=" + device};
    int ranks = 1;
    std::istringstream parts(layout);
    for (std::string part; std::getline(parts, part, ',');) {
      const std::string key = part.substr(0, part.find('=')), value = part.substr(part.find('=') + 1);
      if (key == "dp" || key == "tp" || key == "pp") ranks *= std::stoi(value);
      arguments.push_back(keys.at(key) + "=" + value);
    }
    const Ended ended = run(ranks, arguments);
    ASSERT_EQ(ended.code, 0) << layout << ended.output << ended.errors;
  };
  const std::string alone = runs_ / "alone", moving = runs_ / "moving";
  const int steps = static_cast<int>(kLayouts.size()) + 2;
  go_on(alone, "cpu", "dp=1", steps);
  int step = 0;
  go_on(moving, "cpu", "dp=2", ++step);
  for (const std::string& layout : kLayouts) go_on(moving, "cuda", layout, ++step);
  go_on(moving, "cpu", "dp=1", ++step);
  const auto expected = losses(alone), found = losses(moving);
  ASSERT_EQ(expected.size(), static_cast<std::size_t>(steps));
  ASSERT_EQ(found.size(), static_cast<std::size_t>(steps));
  for (const auto& [number, loss] : expected)
    EXPECT_NEAR(found.at(number), loss, 1e-5 * loss) << "step " << number;
}

}  // namespace
}  // namespace trireme
