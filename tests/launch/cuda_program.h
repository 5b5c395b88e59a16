// The program with device=cuda on models that are small enough for the virtual GPU, and what runs of it have
// logged.  On the virtual GPU where the build is for it, each rank with a device of its own.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace trireme {

using Words = std::vector<std::string>;

Words operator+(Words words, const Words& more);

struct Ended {
  int code = -1;
  std::string output;
  std::string errors;
};

class CudaProgram : public ::testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite() { folder_.reset(); }
  void SetUp() override;

  static bool is_virtual();
  static bool lacks(int gpus);

  // The program on so many ranks, with these variables.
  static Ended run(int ranks, const Words& arguments, const Words& environment = {});
  // A model of the data of that name, text or pairs, that is small enough for the virtual GPU.
  static Words tiny(const std::string& name);
  static Words training_keys(int steps);
  static Words training(const std::string& directory, int steps);
  // Of a new run.
  std::string run_directory() { return runs_ / ("run" + std::to_string(num_runs_++)); }

  using ByStep = std::map<std::int64_t, double>;
  // Of each step that a run has logged.
  static ByStep losses(const std::string& run_directory);
  static ByStep validation_losses(const std::string& run_directory);

  // Trains one rank on the CPU and each layout with device=cuda.
  static void expect_the_cpus_numbers(const Words& model, const Words& layouts, int steps,
                                      const Words& environment = {}, int ranks = 4);
  // Ten steps of the model on one rank of the CPU, and in bfloat16 on so many GPUs in each layout.
  void expect_float32s_losses_in_bfloat16(const Words& model,
                                          const std::vector<std::pair<int, Words>>& layouts);

  TempDir runs_;

 private:
  static void prepare(const Words& arguments);
  static std::string data(const std::string& name) { return *folder_ / name; }

  static inline std::unique_ptr<TempDir> folder_;
  int num_runs_ = 0;
};

}  // namespace trireme
