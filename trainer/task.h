// What a run learns, and from what: the part of the training loop that is not the same for every model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "parallel/gradient_reducer.h"
#include "parallel/mesh.h"
#include "parallel/parameter_buffer.h"
#include "parallel/pipeline_runner.h"
#include "trainer/config.h"
#include "trainer/validation.h"

namespace trireme {

// What an optimizer step works through, all ranks together.
struct StepSize {
  std::int64_t samples = 0;  // by which the data are counted: sequences, or pairs
  std::int64_t tokens = 0;   // that are learned from
  std::int64_t targets = 0;  // that are predicted: what the mean loss is a mean over
  double flops = 0.0;
};

// A model with its training and validation data.
class Task {
 public:
  virtual ~Task() = default;
  Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  virtual ParameterBuffer& parameters() = 0;
  virtual std::string model_json() const = 0;  // of a checkpoint
  virtual const std::string& dataset_id() const = 0;
  virtual const std::filesystem::path& data_folder() const = 0;

  // Begins to read, behind so many samples, and makes the memory of the steps.  Once, before what follows.
  virtual void start(std::int64_t samples_consumed) = 0;
  // Brings this rank's part of the next batch to where the model computes.
  virtual StepSize read_batch() = 0;
  // Works through the batch that was read: loss[0] += what is minimised, in nats, summed over its tokens;
  // loss[1] += the same without label smoothing; the parameters' gradients += those of loss[0]'s mean over
  // the whole batch.  `step` is that of the dropout.
  virtual void accumulate_gradients(Tensor loss_2, GradientReducer& reducer, std::int64_t step,
                                    Stream stream) = 0;
  // Of the batch that was read.  What a device is told to do with batches that give the same number is the
  // same, operands and all; with one that gives none it is like no other.
  virtual std::optional<int> alike() const { return std::nullopt; }
  // The same on every rank.
  virtual Validation validate() = 0;
  // Of the steps since the last call; none without a pipeline.  Collective over its stages.
  virtual std::optional<PipelineBubble> take_bubble() { return std::nullopt; }
  // Time that the steps have waited for data.
  virtual double seconds_waited() const = 0;
};

// What config.model.kind says, on the stream's device.  `mesh` outlives the task, and so does who owns the
// stream.  Throws UserError for a config that the data don't fit.
std::unique_ptr<Task> make_task(const Config& config, Mesh& mesh, Stream stream);

}  // namespace trireme
