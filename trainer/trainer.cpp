#include "trainer/trainer.h"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <optional>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "data/durable_file.h"
#include "data/manifest.h"
#include "data/tokenizer/tokenizer.h"
#include "data/user_error.h"
#include "kernels/speed_of_light.h"
#include "kernels/threads.h"
#include "trainer/checkpoint/folders.h"
#include "trainer/checkpoint/load.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/pieces.h"
#include "trainer/device_of_rank.h"
#include "trainer/load_model.h"
#include "trainer/whole_layout.h"

namespace trireme {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// The sum over all ranks of a number that each has.
double sum_over(Communicator& communicator, double value) {
  auto narrow = static_cast<float>(value);
  const Tensor x(&narrow, DType::kFloat32, {1});
  communicator.wait(communicator.all_reduce(x, ReduceOp::kSum, {}), {});
  return narrow;
}

bool due(std::int64_t every, std::int64_t step) {
  return every > 0 && step % every == 0;
}

}  // namespace

Trainer::Trainer(const Config& config, Process& process)
    : config_(config),
      directory_(config.run.directory),
      process_(process),
      device_(device_of_rank(config.run.device, process)),
      engine_(config, process.world(), device_),
      traffic_(engine_.mesh()) {
  set_up_threads();
  open_run_directory();
  resume_or_initialize();
  engine_.start(state_.samples, state_.step, state_.skipped_steps);
}

void Trainer::set_up_threads() {
  const int threads = config_.run.threads > 0 ? static_cast<int>(config_.run.threads)
                                              : std::max(1, num_threads() / process_.num_local_ranks());
  set_num_threads(threads);
  peak_flops_ = sum_over(process_.world(), peak_flops(device_, dtype_of(config_.train)));
}

void Trainer::open_run_directory() {
  if (process_.rank() != 0) return;
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error)
    throw UserError(directory_, "cannot be made: " + error.message(), "choose another run.directory");
  if (!config_.checkpoint.resume && !find_checkpoints(directory_).empty()) {
    throw UserError(directory_,
                    "holds checkpoints of a run, which checkpoint.resume=false would leave behind",
                    "choose another run.directory, or remove this one");
  }
  write_durably(directory_ / kConfigFile, to_toml(config_), IfExists::kReplace);
  const auto tokenizer = load_tokenizer(engine_.task().data_folder() / kTokenizerFile);
  write_durably(directory_ / kTokenizerFile, tokenizer->to_json(), IfExists::kReplace);
  clean_checkpoints(directory_);
}

CheckpointContents Trainer::checkpoint_contents() {
  const ParameterBuffer& parameters = engine_.task().parameters();
  CheckpointContents contents;
  contents.model_json = engine_.task().model_json();
  const WholeLayout whole = whole_layout(TransformerOptions::from_json(contents.model_json, "[model]"));
  contents.layout = whole.entries;
  contents.num_elements = whole.num_elements;
  Communicator& data = engine_.mesh().data();
  const CheckpointPieces share = pieces_of(parameters, contents.layout);
  const CheckpointPieces everywhere = replicated_over(data, share, parameters.num_elements());
  const CheckpointPieces sharded =
      engine_.shards() ? sharded_over(data, share, *engine_.shards()) : everywhere;
  contents.tensors = {{"parameters", parameters.values(), engine_.shares_values() ? sharded : everywhere},
                      {"adam_m", engine_.optimizer().first_moment(), sharded},
                      {"adam_v", engine_.optimizer().second_moment(), sharded}};
  contents.state = state_;
  contents.changeable_keys = {"dropout", "attention_dropout", "init_stddev"};
  return contents;
}

void Trainer::resume_or_initialize() {
  state_.seed = config_.run.seed;
  state_.dataset_id = engine_.task().dataset_id();
  process_.world().barrier();  // rank 0 has cleaned up
  std::string from;
  if (config_.checkpoint.resume) {
    CheckpointContents contents = checkpoint_contents();
    if (const auto folder = load_newest_checkpoint(directory_, contents, process_.world())) {
      state_ = contents.state;
      engine_.share_values();
      // Before pairs came, checkpoints knew no tokens: each sequence had as many.
      if (state_.tokens < 0) state_.tokens = state_.samples * config_.model.context;
      from = folder->filename();
    }
  }
  const bool is_new = from.empty();
  if (is_new) from = initialize();
  if (process_.rank() != 0) return;
  log_ = std::make_unique<MetricsLog>(directory_, state_.step);
  note(is_new ? "a new run" + (from.empty() ? "" : " from " + from) : "resumed from " + from);
}

// Returns the checkpoint that the values are of; nothing if they are drawn.
std::string Trainer::initialize() {
  if (config_.train.init_from.empty()) {
    engine_.initialize();
    return "";
  }
  const std::filesystem::path folder = checkpoint_at(config_.train.init_from);
  const CheckpointManifest manifest = read_manifest(folder);
  const CheckpointContents ours = checkpoint_contents();
  if (const auto difference = first_difference(manifest.model_json, ours.model_json, ours.changeable_keys)) {
    throw UserError("train.init_from", folder.string() + " is of another model: " + *difference,
                    "set the keys of [model] as the checkpoint has them");
  }
  load_tensors(folder, manifest, ours.layout, {ours.tensors.front()}, process_.world());
  engine_.share_values();
  return folder.string();
}

RunEnd Trainer::run() {
  start_ = Clock::now();
  last_log_ = {.time = start_, .step = state_.step, .tokens = state_.tokens};
  traffic_.resume();
  while (state_.step < config_.train.steps) {
    const StepResult result = train_step();
    const bool last = state_.step == config_.train.steps;
    const int signal = agreed_signal();
    const bool leaving = signal != 0 && !last;
    const bool logs = last || leaving || due(config_.train.log_every, state_.step);
    const bool validates = last || due(config_.train.eval_every, state_.step);
    const bool saves = last || leaving || due(config_.checkpoint.every, state_.step);
    // A CUDA device is asked only where something is done with the answer: until then it is kept busy.
    if (logs || validates || saves || device_.is_cpu()) {
      const StepOutcome outcome = look();
      if (logs) log_step(result, outcome);
    }
    if (validates) validate();
    if (saves) save();
    if (leaving) return signal == SIGINT ? RunEnd::kInterrupted : RunEnd::kRequeue;
  }
  return RunEnd::kFinished;
}

StepResult Trainer::train_step() {
  const StepResult result = engine_.step(state_.step);
  traffic_.count_step();
  ++state_.step;
  state_.samples += result.size.samples;
  state_.tokens += result.size.tokens;
  flops_ += result.size.flops;
  return result;
}

// What a rank received, 0 for none: a signal may have reached one of them alone.
int Trainer::agreed_signal() {
  std::int32_t signal = stop_signal_.received();
  Communicator& world = process_.world();
  world.wait(world.all_reduce({&signal, DType::kInt32, {1}}, ReduceOp::kMax, {}), {});
  return signal;
}

StepOutcome Trainer::look() {
  const StepOutcome outcome = engine_.outcome();
  const std::int64_t skipped = outcome.skipped_steps - state_.skipped_steps;
  if (skipped == 0) return outcome;
  state_.skipped_steps = outcome.skipped_steps;
  const std::int64_t step = outcome.last_skipped_step + 1;
  const char* number = "loss or the gradient";
  if (step == state_.step) number = std::isfinite(outcome.objective) ? "gradient" : "loss";
  const std::string what =
      "step " + std::to_string(step) + ": the " + number + " is not a finite number" +
      (skipped > 1 ? ", nor was it in " + std::to_string(skipped - 1) + " of the steps before" : "");
  if (config_.train.on_nonfinite == "skip") {
    LOG_IF(WARNING, process_.rank() == 0) << what << "; this step changed nothing";
    return outcome;
  }
  throw UserError(
      directory_, what,
      "its last checkpoint is as it was: lower optim.learning_rate or optim.grad_clip and go on, or set "
      "train.on_nonfinite=skip to pass over such steps");
}

void Trainer::log_step(const StepResult& result, const StepOutcome& outcome) {
  const std::optional<PipelineBubble> bubble = engine_.task().take_bubble();
  std::vector<AxisTraffic> traffic = traffic_.take(process_.world());
  if (log_ == nullptr) return;
  const Clock::time_point now = Clock::now();
  const double seconds = std::max(1e-9, seconds_between(last_log_.time, now));
  const double steps_per_second = static_cast<double>(state_.step - last_log_.step) / seconds;
  const double waited = engine_.task().seconds_waited();
  log_->train_step(
      {.step = state_.step,
       .steps = config_.train.steps,
       .loss = outcome.loss,
       .objective = config_.train.label_smoothing > 0.0 ? std::optional(outcome.objective) : std::nullopt,
       .learning_rate = result.learning_rate,
       .grad_norm = outcome.grad_norm,
       .tokens_per_second = static_cast<double>(state_.tokens - last_log_.tokens) / seconds,
       .share_of_peak = (flops_ - last_log_.flops) / seconds / peak_flops_,
       .data_wait = (waited - last_log_.seconds_waited) / seconds,
       .tokens = state_.tokens,
       .skipped_steps = state_.skipped_steps,
       .elapsed_s = seconds_between(start_, now),
       .remaining_s = static_cast<double>(config_.train.steps - state_.step) / steps_per_second,
       .traffic = std::move(traffic),
       .bubble = bubble});
  last_log_ = {
      .time = now, .step = state_.step, .tokens = state_.tokens, .flops = flops_, .seconds_waited = waited};
}

void Trainer::validate() {
  const Clock::time_point begin = Clock::now();
  traffic_.pause();
  const Validation found = engine_.validate();
  traffic_.resume();
  if (log_ != nullptr) log_->validation(state_.step, found);
  last_log_.time += Clock::now() - begin;  // the speed of training is not charged for it
}

void Trainer::save() {
  const Clock::time_point begin = Clock::now();
  const KeepPolicy keep{.last = config_.checkpoint.keep_last, .every = config_.checkpoint.keep_every};
  traffic_.pause();
  const auto failure = save_checkpoint(directory_, checkpoint_contents(), keep, process_.world());
  traffic_.resume();
  last_log_.time += Clock::now() - begin;
  if (!failure) {
    note("saved step " + std::to_string(state_.step));
    return;
  }
  // In the middle of a run the next attempt may find the disk mended; at its end there is none.
  if (state_.step == config_.train.steps || stop_signal_.received() != 0) {
    throw UserError(directory_, "the last checkpoint could not be saved: " + *failure,
                    "make room and start the run again: it goes on from the checkpoint before");
  }
  LOG_IF(ERROR, process_.rank() == 0) << "step " << state_.step << " could not be saved: " << *failure
                                      << "; training goes on, and the checkpoint before stays";
}

void Trainer::note(const std::string& text) {
  if (log_ != nullptr) log_->note(text);
}

}  // namespace trireme
