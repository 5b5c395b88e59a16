// With device=cuda and passes in bfloat16: near the losses of those in float32, whoever has the values, and
// by whose attention.

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/attention.h"
#include "tests/launch/cuda_program.h"

namespace trireme {
namespace {

// Of the type that passes compute in, losses know little: these are the first steps, far from where it would
// matter.
TEST_F(CudaProgram, LossesInBfloat16FollowThoseInFloat32) {
  expect_float32s_losses_in_bfloat16(
      {}, {{1, {}},
           {1, {"train.recompute=full"}},
           {4, {"parallel.tensor=2", "parallel.pipeline=2"}},
           {4, {"parallel.zero=2", "parallel.tensor=2", "parallel.gradient_dtype=bfloat16"}},
           {4, {"parallel.zero=1", "parallel.pipeline=2", "parallel.schedule=zero_bubble"}},
           {2, {"parallel.zero=3"}},
           {4, {"parallel.zero=3", "train.recompute=full"}},
           {4, {"parallel.zero=3", "parallel.tensor=2", "parallel.gradient_dtype=bfloat16"}}});
}

// Who has which values, and who copies of them, changes nothing but the order of sums; nor does it matter
// whether a run stops in between.
TEST_F(CudaProgram, SharedCopiesInBfloat16AreTheWholeOnes) {
  if (lacks(2)) GTEST_SKIP() << "needs 2 GPUs and NCCL";
  std::vector<ByStep> courses, validations;
  for (const char* const zero : {"0", "1", "2", "3"}) {
    const std::string directory = run_directory();
    const Words layout = {"device=cuda",    "train.dtype=bfloat16",    "train.eval_every=2",
                          "model.width=64", "parallel.bucket_mib=0.1", std::string("parallel.zero=") + zero};
    for (const int steps : {3, 5}) {
      if (steps < 5 && layout.back() != "parallel.zero=3") continue;
      const Ended ended = run(2, training(directory, steps) + layout, {"TRIREME_VGPU_STREAMS=lazy"});
      ASSERT_EQ(ended.code, 0) << ended.output << ended.errors;
    }
    courses.push_back(losses(directory));
    validations.push_back(validation_losses(directory));
    ASSERT_EQ(courses.back().size(), 5U);
    for (const auto& [step, loss] : courses.front())
      EXPECT_NEAR(courses.back().at(step), loss, 1e-3 * loss) << "zero " << zero << ", step " << step;
  }
  EXPECT_EQ(courses[2], courses[3]);
  validations[3].erase(3);  // where it stopped
  EXPECT_EQ(validations[2].size(), 3U);
  EXPECT_EQ(validations[2], validations[3]);
}

TEST_F(CudaProgram, EncodersAndLoopsComputeInBfloat16) {
  expect_float32s_losses_in_bfloat16(
      {"model.kind=encoder", "model.token_types=2", "model.output_transform=true", "model.norm=layer",
       "model.embedding_norm=true"},
      {{1, {}}, {2, {"parallel.zero=3"}}});
  const Words loops = {"model.loops=2", "model.layers=2"};
  expect_float32s_losses_in_bfloat16(loops, {{1, {}}, {2, {"parallel.zero=3"}}});
  expect_float32s_losses_in_bfloat16(loops + Words{"model.halting=true"},
                                     {{1, {}}, {2, {"parallel.zero=3"}}});
}

TEST_F(CudaProgram, TrainsWithCudnnsAttention) {
  if (!has_cudnn()) GTEST_SKIP() << "this build has no cuDNN";
  const Words plain = {"device=cuda", "train.dtype=bfloat16", "model.dropout=0"};
  std::vector<ByStep> courses;
  for (const char* const library : {"trireme", "cudnn"}) {
    const std::string directory = run_directory();
    const Ended ended = run(1, training(directory, 10) + plain + Words{std::string("attention=") + library});
    ASSERT_EQ(ended.code, 0) << ended.errors;
    EXPECT_EQ(ended.errors.find("takes the place of cuDNN"), std::string::npos) << ended.errors;
    courses.push_back(losses(directory));
  }
  ASSERT_EQ(courses[1].size(), 10U);
  for (const auto& [step, loss] : courses[0]) EXPECT_NEAR(courses[1].at(step), loss, 0.01 * loss) << step;
  EXPECT_NE(courses[0], courses[1]);  // they round differently
  // Of two the quicker is taken from Hopper on, and ours before.
  const std::string directory = run_directory();
  Ended ended = run(1, training(directory, 10) + plain + Words{"attention=auto"});
  ASSERT_EQ(ended.code, 0) << ended.errors;
  EXPECT_EQ(losses(directory), courses[0]);
  if (is_virtual()) {
    ended = run(1, training(run_directory(), 2) + plain + Words{"attention=auto"},
                {"TRIREME_VGPU_COMPUTE_CAPABILITY=90"});
    ASSERT_EQ(ended.code, 0) << ended.errors;
    for (const char* const pass : {"attention forward of ", "attention backward of "})
      EXPECT_NE(ended.errors.find(pass), std::string::npos) << ended.errors;
  }
  const Ended on_cpu = run(1, training(run_directory(), 2) + Words{"attention=cudnn"});
  EXPECT_EQ(on_cpu.code, 2);
  EXPECT_NE(on_cpu.errors.find("run.attention"), std::string::npos) << on_cpu.errors;
}

// Passes in bfloat16 take the values of a run in float32, and leave such.
TEST_F(CudaProgram, BfloatIsOfPassesAlone) {
  const std::string directory = runs_ / "run";
  Ended ended = run(1, training(directory, 4));
  ASSERT_EQ(ended.code, 0) << ended.errors;
  ended = run(1, training(directory, 6) + Words{"device=cuda", "train.dtype=bfloat16"});
  ASSERT_EQ(ended.code, 0) << ended.errors;
  ended = run(1, training(directory, 8));
  ASSERT_EQ(ended.code, 0) << ended.errors;
  EXPECT_EQ(losses(directory).size(), 8U);
  ended = run(1, training(run_directory(), 2) + Words{"train.dtype=bfloat16"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_NE(ended.errors.find("set run.device = \"cuda\""), std::string::npos) << ended.errors;
}

// So do those of ranks that share the values, and others go on from there, on either device.
TEST_F(CudaProgram, SharedBfloatIsOfPassesAlone) {
  if (lacks(4)) GTEST_SKIP() << "needs 4 GPUs and NCCL";
  const std::string whole = run_directory(), shared = run_directory();
  Ended ended = run(1, training(whole, 10));
  ASSERT_EQ(ended.code, 0) << ended.errors;
  const Words narrow = {"device=cuda", "train.dtype=bfloat16"};
  const struct {
    int steps, ranks;
    Words layout;
  } stages[] = {{2, 2, narrow + Words{"parallel.zero=3"}},
                {4, 2, {"device=cpu"}},
                {6, 4, narrow + Words{"parallel.zero=3", "parallel.tensor=2"}},
                {8, 1, {"device=cuda"}},
                {9, 2, narrow + Words{"parallel.zero=1"}},
                {10, 4, narrow + Words{"parallel.zero=3"}}};
  for (const auto& [steps, ranks, layout] : stages) {
    ended = run(ranks, training(shared, steps) + layout);
    ASSERT_EQ(ended.code, 0) << ended.output << ended.errors;
  }
  const auto expected = losses(whole), found = losses(shared);
  ASSERT_EQ(expected.size(), 10U);
  ASSERT_EQ(found.size(), 10U);
  for (const auto& [step, loss] : expected) EXPECT_NEAR(found.at(step), loss, 0.02 * loss) << "step " << step;
  const Words generate = {"generate", shared, "--prompt", "Ship ", "--tokens", "12", "--temperature", "0"};
  ended = run(1, generate);
  EXPECT_EQ(ended.code, 0) << ended.errors;
  EXPECT_EQ(run(1, generate + Words{"--device", "cuda"}).output, ended.output);
}

TEST_F(CudaProgram, TranslatesInBfloat16) {
  const Words model = Words{"train"} + tiny("pairs") +
                      Words{"train.steps=6",          "train.log_every=1",         "train.eval_every=0",
                            "train.eval_sequences=8", "train.eval_translations=3", "optim.warmup_steps=2"};
  const std::string wide = runs_ / "wide", narrow = runs_ / "narrow";
  Ended ended = run(1, model + Words{"run.directory=" + wide});
  ASSERT_EQ(ended.code, 0) << ended.errors;
  ended = run(1, model + Words{"run.directory=" + narrow, "device=cuda", "train.dtype=bfloat16"});
  ASSERT_EQ(ended.code, 0) << ended.errors;
  const auto expected = losses(wide), found = losses(narrow);
  ASSERT_EQ(expected.size(), 6U);
  for (const auto& [step, loss] : expected) EXPECT_NEAR(found.at(step), loss, 0.02 * loss) << "step " << step;
}

}  // namespace
}  // namespace trireme
