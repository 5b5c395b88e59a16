// With device=cuda: commands on trained models, steps by graphs, and what the program says when something is
// wrong.

#include <filesystem>
#include <fstream>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/launch/cuda_program.h"

namespace trireme {
namespace {

using Json = nlohmann::json;

TEST_F(CudaProgram, UsesTrainedModelsAsTheCpuDoes) {
  const std::string text = runs_ / "text", pairs = runs_ / "pairs", masked = runs_ / "masked";
  Ended ended = run(1, training(text, 8));
  ASSERT_EQ(ended.code, 0) << ended.errors;
  ended = run(1, Words{"train"} + tiny("pairs") + Words{"run.directory=" + pairs, "train.steps=8"});
  ASSERT_EQ(ended.code, 0) << ended.errors;
  ended = run(1, training(masked, 8) + Words{"model.kind=encoder"});
  ASSERT_EQ(ended.code, 0) << ended.errors;
  const Words commands[] = {
      {"generate", text, "--prompt", "Ship ", "--tokens", "12", "--temperature", "0"},
      {"generate", text, "--prompt", "Ship ", "--tokens", "12", "--top-k", "5", "--seed", "3"},
      {"generate", text, "--tokens", "12", "--temperature", "1.5", "--seed", "4"},
      {"generate", text, "--tokens", "12", "--temperature", "0.7", "--top-k", "40", "--top-p", "0.8"},
      {"evaluate", text, "--sequences", "3"},
      {"evaluate", masked, "--sequences", "5"},
      {"fill", masked, "--text", "Ship [MASK]alled[MASK]", "--top-k", "4"},
      {"evaluate", pairs, "--sequences", "4", "--beam", "3"}};
  for (const Words& command : commands) {
    const Ended on_cpu = run(1, command), on_cuda = run(1, command + Words{"--device", "cuda"});
    EXPECT_EQ(on_cpu.code, 0) << on_cpu.errors;
    EXPECT_EQ(on_cuda.code, 0) << on_cuda.errors;
    EXPECT_EQ(on_cuda.output, on_cpu.output);
  }
}

// The same kernels on the same numbers, so the same bits: recorded once, anew at each step where dropout or
// the batches' shapes change what the device is told, and with NCCL's operations among them.
TEST_F(CudaProgram, TrainsByGraphsAsWithoutThem) {
  const Words text = tiny("text") + Words{"train.batch_sequences=4", "train.microbatch_sequences=2"};
  const Words no_dropout = {"model.dropout=0"}, bfloat = {"train.dtype=bfloat16", "model.dropout=0"};
  const std::vector<std::tuple<int, Words, Words>> cases = {
      {1, text, {}},
      {1, text, bfloat},
      {1, tiny("pairs"), {"train.batch_tokens=80"}},
      {2, text, no_dropout + Words{"parallel.tensor=2"}},
      {2, text, no_dropout + Words{"parallel.data=2", "parallel.zero=1", "model.kind=encoder"}},
  };
  for (const auto& [ranks, model, changes] : cases) {
    if (lacks(ranks)) GTEST_SKIP() << "needs several GPUs and NCCL";
    const Words plain = Words{"train"} + model + training_keys(6) + changes + Words{"device=cuda"};
    const std::string eager = runs_ / "eager", recorded = runs_ / "recorded";
    for (const std::string& directory : {eager, recorded}) std::filesystem::remove_all(directory);
    Ended ended = run(ranks, plain + Words{"run.directory=" + eager});
    ASSERT_EQ(ended.code, 0) << ended.errors;
    ended = run(ranks, plain + Words{"run.directory=" + recorded, "cuda_graph=true"},
                {"TRIREME_VGPU_STREAMS=lazy", "TRIREME_VGPU_COUNTERS=1"});
    ASSERT_EQ(ended.code, 0) << ended.errors;
    EXPECT_EQ(losses(recorded), losses(eager)) << changes.size();
    if (is_virtual()) {
      EXPECT_NE(ended.errors.find("graph_launches 4"), std::string::npos) << ended.errors;
    }
  }
}

// Beside the graph there is only the kernel that sets the learning rate.
TEST_F(CudaProgram, AStepByGraphIsTwoLaunches) {
  if (!is_virtual()) GTEST_SKIP() << "nothing but the virtual GPU counts launches";
  const auto launches = [&](int steps) {
    const Ended ended = run(1, training(run_directory(), steps) + Words{"device=cuda", "cuda_graph=true"},
                            {"TRIREME_VGPU_COUNTERS=1"});
    EXPECT_EQ(ended.code, 0) << ended.errors;
    const std::string before = "counters of the process\n  launches ";
    const std::size_t at = ended.errors.find(before);
    EXPECT_NE(at, std::string::npos) << ended.errors;
    return at == std::string::npos ? 0 : std::stoi(ended.errors.substr(at + before.size()));
  };
  EXPECT_EQ(launches(9) - launches(6), 3);
}

TEST_F(CudaProgram, PassesOverStepsThatAreNotFinite) {
  const Words exploding = {"device=cuda", "optim.learning_rate=1e30", "optim.warmup_steps=0",
                           "train.log_every=3"};
  const std::string skipping = runs_ / "skipping", stopping = runs_ / "stopping";
  Ended ended = run(1, training(skipping, 6) + exploding + Words{"train.on_nonfinite=skip"});
  EXPECT_EQ(ended.code, 0) << ended.errors;
  EXPECT_NE(ended.errors.find("is not a finite number"), std::string::npos) << ended.errors;
  ended = run(1, training(stopping, 6) + exploding);
  EXPECT_EQ(ended.code, 2) << ended.errors;
  EXPECT_NE(ended.errors.find("train.on_nonfinite=skip"), std::string::npos) << ended.errors;
}

// The last of each layer and head that a run has logged.
TEST_F(CudaProgram, LooksAtAttentionAsTheCpuDoes) {
  const auto entropies = [&](const std::string& directory, const Words& device) {
    const Ended ended = run(1, training(directory, 2) + Words{"train.eval_attention=3"} + device);
    EXPECT_EQ(ended.code, 0) << ended.errors;
    Json last;
    std::ifstream lines(directory + "/metrics.jsonl");
    for (std::string line; std::getline(lines, line);) {
      const Json entry = Json::parse(line);
      if (entry.contains("attention_entropy")) last = entry["attention_entropy"].flatten();
    }
    return last;
  };
  const Json on_cpu = entropies(runs_ / "cpu", {}), on_cuda = entropies(runs_ / "cuda", {"device=cuda"});
  const Json in_bfloat = entropies(runs_ / "bfloat", {"device=cuda", "train.dtype=bfloat16"});
  ASSERT_GE(on_cpu.size(), 16U) << on_cpu;
  ASSERT_EQ(on_cuda.size(), on_cpu.size());
  ASSERT_EQ(in_bfloat.size(), on_cpu.size());
  for (const auto& [place, entropy] : on_cpu.items()) {
    if (!entropy.is_number()) continue;
    EXPECT_NEAR(on_cuda[place].get<double>(), entropy.get<double>(), 1e-4) << place;
    EXPECT_NEAR(in_bfloat[place].get<double>(), entropy.get<double>(), 2e-2) << place;
  }
}

TEST_F(CudaProgram, SaysWhatItCannotDo) {
  const Ended recorded = run(1, training(runs_ / "run", 2) + Words{"cuda_graph=true"});
  EXPECT_EQ(recorded.code, 2);
  EXPECT_NE(recorded.errors.find("run.cuda_graph = true does not go with run.device"), std::string::npos)
      << recorded.errors;
  if (!is_virtual()) return;
  const Ended few = run(4, training(runs_ / "run", 2) + Words{"device=cuda"}, {"TRIREME_VGPU_DEVICES=2"});
  EXPECT_EQ(few.code, 2);
  EXPECT_NE(few.errors.find("has 2 GPUs on this node, for 4 ranks"), std::string::npos) << few.errors;
}

}  // namespace
}  // namespace trireme
