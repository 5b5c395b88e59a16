// The training loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "data/loader.h"
#include "data/token_dataset.h"
#include "parallel/gradient_reducer.h"
#include "parallel/mesh.h"
#include "parallel/process.h"
#include "trainer/config.h"
#include "trainer/metrics.h"
#include "trainer/model/transformer.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/grad_clip.h"
#include "trainer/stop_signal.h"

namespace trireme {

// How a run ended.
enum class RunEnd {
  kFinished,     // all steps are done
  kInterrupted,  // SIGINT: saved, and somebody will go on when they like
  kRequeue,      // SIGTERM or SIGUSR1: saved, and the scheduler should start the job again
};

// Trains the model that the config describes, together with the other ranks, and goes on from the newest checkpoint in
// the run's directory if there is one.  Everything is written below that directory: config.toml (as resolved),
// tokenizer.json, metrics.jsonl, tensorboard/, checkpoints/.
class Trainer {
 public:
  // Throws UserError for a config, data or checkpoint that cannot be trained from.  `process` outlives the trainer.
  Trainer(const Config& config, Process& process);
  ~Trainer();

  // Throws UserError when a loss or gradient is not finite and the config says to stop.
  RunEnd run();

 private:
  struct StepResult {
    double loss = 0.0;  // nats per token, of the global batch
    double grad_norm = 0.0;
    double learning_rate = 0.0;
    bool finite = true;
    int signal = 0;  // the largest that any rank received
  };

  void open_run_directory();
  void resume_or_initialize();
  StepResult train_step();
  void accumulate_gradients();
  void check_finite(const StepResult& result);
  void log_step(const StepResult& result);
  void validate();
  void save();

  Config config_;
  Process& process_;
  Mesh mesh_;
  Stream stream_;
  TokenDataset training_data_;
  TokenDataset validation_data_;
  Transformer model_;
  AdamW optimizer_;
  GradientClip clip_;
  GradientReducer reducer_;
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<MetricsLog> log_;  // rank 0 only
  StopSignal stop_signal_;
  TrainState state_;
  Buffer totals_memory_;
  Tensor totals_;  // loss and signal, summed over the ranks each step
};

}  // namespace trireme
