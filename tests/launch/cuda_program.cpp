#include "tests/launch/cuda_program.h"

#include <fstream>

#include <nlohmann/json.hpp>

#include "kernels/device.h"
#include "parallel/nccl_communicator.h"
#include "tests/support/program.h"

namespace trireme {
namespace {

using Json = nlohmann::json;

// The number of that name by step, of a run's lines that have the other one, too.
std::map<std::int64_t, double> logged(const std::string& run_directory, const char* name, const char* other) {
  std::map<std::int64_t, double> found;
  std::ifstream lines(run_directory + "/metrics.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const Json entry = Json::parse(line);
    if (entry.contains(name) && entry.contains(other)) found[entry["step"]] = entry[name];
  }
  return found;
}

}  // namespace

Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

void CudaProgram::SetUpTestSuite() {
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

void CudaProgram::SetUp() {
  if (!kHasCuda) GTEST_SKIP() << "this build has no CUDA";
  if (lacks(1)) GTEST_SKIP() << "needs a GPU";
}

bool CudaProgram::is_virtual() {
  return std::string(TRIREME_VIRTUAL_GPU_FOLDER) != "";
}

bool CudaProgram::lacks(int gpus) {
  return (gpus > 1 && !kHasNccl) || (!is_virtual() && num_devices(DeviceType::kCuda) < gpus);
}

void CudaProgram::prepare(const Words& arguments) {
  const Ended ended = run(1, Words{"prepare", "--tokenizer", "byte"} + arguments);
  ASSERT_EQ(ended.code, 0) << ended.errors;
}

Ended CudaProgram::run(int ranks, const Words& arguments, const Words& environment) {
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

Words CudaProgram::tiny(const std::string& name) {
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

void CudaProgram::expect_the_cpus_numbers(const Words& model, const Words& layouts, int steps,
                                          const Words& environment, int ranks) {
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

CudaProgram::ByStep CudaProgram::losses(const std::string& run_directory) {
  return logged(run_directory, "loss", "grad_norm");
}

CudaProgram::ByStep CudaProgram::validation_losses(const std::string& run_directory) {
  return logged(run_directory, "validation_loss", "validation_loss");
}

Words CudaProgram::training_keys(int steps) {
  return {"train.log_every=1",
          "train.eval_every=0",
          "train.eval_sequences=4",
          "checkpoint.every=0",
          "optim.warmup_steps=2",
          "optim.schedule=constant",
          "train.steps=" + std::to_string(steps)};
}

Words CudaProgram::training(const std::string& directory, int steps) {
  return Words{"train"} + tiny("text") + training_keys(steps) + Words{"run.directory=" + directory};
}

void CudaProgram::expect_float32s_losses_in_bfloat16(const Words& model,
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

}  // namespace trireme
