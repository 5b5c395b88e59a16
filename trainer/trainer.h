// The training loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>

#include "parallel/process.h"
#include "trainer/axis_traffic.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/config.h"
#include "trainer/metrics.h"
#include "trainer/stop_signal.h"
#include "trainer/training_engine.h"

namespace trireme {

// The config as resolved, in the run's directory.
inline constexpr const char* kConfigFile = "config.toml";

// How a run ended.
enum class RunEnd {
  kFinished,     // all steps are done
  kInterrupted,  // SIGINT: saved; somebody goes on when they like
  kRequeue,      // SIGTERM or SIGUSR1: saved; the scheduler should start the job again
};

// Trains the model that the config describes, together with the other ranks, and goes on from the newest
// checkpoint in the run's directory if there is one.  Everything is written below that directory: config.toml
// (as resolved), tokenizer.json, metrics.jsonl, tensorboard/, checkpoints/.
class Trainer {
 public:
  // Throws UserError for a config, data or checkpoint that cannot be trained from.  `process` outlives the
  // trainer.
  Trainer(const Config& config, Process& process);

  // Throws UserError when a loss or gradient is not finite and the config says to stop, or nothing can be
  // saved.
  RunEnd run();

 private:
  // What rates are computed from: the state at the last line of the log.
  struct Mark {
    std::chrono::steady_clock::time_point time;
    std::int64_t step = 0;
    std::int64_t tokens = 0;
    double flops = 0.0;
    double seconds_waited = 0.0;
  };

  void set_up_threads();
  void open_run_directory();
  void resume_or_initialize();
  std::string initialize();

  StepResult train_step();
  int agreed_signal();
  // Of the last step; notes how many were skipped since the last call, and throws if the config says so.
  StepOutcome look();

  void log_step(const StepResult& result, const StepOutcome& outcome);
  void validate();
  void save();
  void note(const std::string& text);
  CheckpointContents checkpoint_contents();

  StopSignal stop_signal_;  // the first member: a signal counts while the others are made, too
  const Config config_;
  const std::filesystem::path directory_;
  Process& process_;
  const Device device_;
  TrainingEngine engine_;
  TrafficMeter traffic_;
  TrainState state_;
  std::unique_ptr<MetricsLog> log_;  // rank 0's alone
  double peak_flops_ = 0.0;          // of all ranks
  double flops_ = 0.0;               // since this process began to train
  std::chrono::steady_clock::time_point start_;
  Mark last_log_;
};

}  // namespace trireme
