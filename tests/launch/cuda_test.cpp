// The program with device=cuda: the CPU's numbers in every layout, runs that change devices, and what it says
// when something is wrong.  On the virtual GPU where the build is for it, each rank with a device of its own.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "kernels/attention.h"
#include "kernels/device.h"
#include "parallel/nccl_communicator.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

namespace trireme {
namespace {

using Json = nlohmann::json;
using Words = std::vector<std::string>;

Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

struct Ended {
  int code = -1;
  std::string output;
  std::string errors;
};

class CudaProgram : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TempDir>();
    std::ofstream text(*folder_ / "text.txt"), pairs(*folder_ / "pairs.tsv");
    for (int i = 0; i < 400; ++i) {
      text << "%\nShip " << i % 50 << " called the stroke " << i * i % 97 << " times, and the oars fell.\n";
      for (int word = 0; word <= i % 5; ++word) pairs << i * (word + 1) % 41 << ' ';
      pairs << '\t';
      for (int word = 0; word <= i % 5; ++word) pairs << i * (word + 1) % 41 * 7 << ' ';
      pairs << '\n';
    }
    text.close();
    pairs.close();
    prepare({*folder_ / "text.txt", "--separator", "%", "--output", data("text")});
    prepare({"--pairs", *folder_ / "pairs.tsv", "--validation-fraction", "0.1", "--output", data("pairs")});
  }
  static void TearDownTestSuite() { folder_.reset(); }
  void SetUp() override {
    if (!kHasCuda) GTEST_SKIP() << "this build has no CUDA";
    if (lacks(1)) GTEST_SKIP() << "needs a GPU";
  }
  static bool is_virtual() { return std::string(TRIREME_VIRTUAL_GPU_FOLDER) != ""; }
  static bool lacks(int gpus) {
    return (gpus > 1 && !kHasNccl) || (!is_virtual() && num_devices(DeviceType::kCuda) < gpus);
  }

  static void prepare(const Words& arguments) {
    const Ended ended = run(1, Words{"prepare", "--tokenizer", "byte"} + arguments);
    ASSERT_EQ(ended.code, 0) << ended.errors;
  }
  static std::string data(const std::string& name) { return *folder_ / name; }

  // The program on so many ranks, with these variables.
  static Ended run(int ranks, const Words& arguments, const Words& environment = {}) {
    Words words = {"env"};
    if (is_virtual()) {
      words = words + Words{"LD_LIBRARY_PATH=" TRIREME_VIRTUAL_GPU_FOLDER,
                            "TRIREME_VGPU_DEVICES=" + std::to_string(ranks), "TRIREME_VGPU_THREADS=1"};
    }
    words = words + environment;
    if (ranks > 1) words = words + Words{TRIREME_MPIRUN, std::to_string(ranks)};
    words.push_back(TRIREME_PROGRAM);
    Program program(words + arguments);
    const int code = program.wait();
    return {code, program.output(), program.errors()};
  }

  // A model that is small enough for the virtual GPU.
  static Words tiny(const std::string& name) {
    const Words all = {TRIREME_SOURCE_DIR "/configs/tiny.toml",
                       "data.path=" + data(name),
                       "model.layers=4",
                       "model.width=32",
                       "model.heads=4",
                       "model.context=32",
                       "model.dropout=0.1"};
    if (name == "text") return all + Words{"train.batch_sequences=8", "train.microbatch_sequences=1"};
    return all + Words{"model.kind=encoder_decoder", "model.encoder_layers=2", "model.layers=2",
                       "train.batch_sequences=0",    "train.batch_tokens=240", "train.microbatch_tokens=60",
                       "train.label_smoothing=0.1"};
  }

  // Trains one rank on the CPU and each layout with device=cuda.
  static void expect_the_cpus_numbers(const Words& model, const Words& layouts, int steps,
                                      const Words& environment = {}, int ranks = 4) {
    Words arguments = Words{"check"} + model;
    arguments = arguments + Words{"--steps", std::to_string(steps), "--json", "--layouts"};
    for (const std::string& layout : layouts) arguments.push_back("device=cuda," + layout);
    const Ended ended = run(ranks, arguments, environment);
    EXPECT_EQ(ended.code, 0) << ended.output << ended.errors;
    const Json reports = Json::parse(ended.output, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(reports.is_array()) << ended.output << ended.errors;
    ASSERT_EQ(reports.size(), layouts.size());
    for (const Json& report : reports) {
      EXPECT_TRUE(report["passes"]) << report;
      EXPECT_LE(report["loss"]["largest"], 1e-5) << report;
    }
  }

  using ByStep = std::map<std::int64_t, double>;

  // Of each step that a run has logged.
  static ByStep losses(const std::string& run_directory) {
    return logged(run_directory, "loss", "grad_norm");
  }
  static ByStep validation_losses(const std::string& run_directory) {
    return logged(run_directory, "validation_loss", "validation_loss");
  }
  // The number of that name, of lines that have the other one, too.
  static ByStep logged(const std::string& run_directory, const char* name, const char* other) {
    ByStep found;
    std::ifstream lines(run_directory + "/metrics.jsonl");
    for (std::string line; std::getline(lines, line);) {
      const Json entry = Json::parse(line);
      if (entry.contains(name) && entry.contains(other)) found[entry["step"]] = entry[name];
    }
    return found;
  }

  static Words training_keys(int steps) {
    return {"train.log_every=1",
            "train.eval_every=0",
            "train.eval_sequences=4",
            "checkpoint.every=0",
            "optim.warmup_steps=2",
            "optim.schedule=constant",
            "train.steps=" + std::to_string(steps)};
  }
  static Words training(const std::string& directory, int steps) {
    return Words{"train"} + tiny("text") + training_keys(steps) + Words{"run.directory=" + directory};
  }

  // Ten steps of the model on one rank of the CPU, and in bfloat16 on so many GPUs in each layout.
  void expect_float32s_losses_in_bfloat16(const Words& model,
                                          const std::vector<std::pair<int, Words>>& layouts) {
    const std::string on_cpu = run_directory();
    Ended ended = run(1, training(on_cpu, 10) + model);
    ASSERT_EQ(ended.code, 0) << ended.errors;
    const auto expected = losses(on_cpu);
    ASSERT_EQ(expected.size(), 10U);
    for (const auto& [ranks, layout] : layouts) {
      if (lacks(ranks)) continue;
      SCOPED_TRACE(testing::PrintToString(model + layout));
      const std::string directory = run_directory();
      ended =
          run(ranks, training(directory, 10) + model + Words{"device=cuda", "train.dtype=bfloat16"} + layout,
              {"TRIREME_VGPU_STREAMS=lazy"});
      ASSERT_EQ(ended.code, 0) << ended.output << ended.errors;
      const auto found = losses(directory);
      ASSERT_EQ(found.size(), 10U);
      for (const auto& [step, loss] : expected)
        EXPECT_NEAR(found.at(step), loss, 0.02 * loss) << "step " << step;
      EXPECT_NE(found, expected);  // it is another type
    }
  }

  // Of a new run.
  std::string run_directory() { return runs_ / ("run" + std::to_string(num_runs_++)); }

  static inline std::unique_ptr<TempDir> folder_;
  TempDir runs_;
  int num_runs_ = 0;
};

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
