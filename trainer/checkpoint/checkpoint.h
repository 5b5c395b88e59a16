// Checkpoints: what a run needs to go on, as if it had never stopped.
//
// One folder each, RUN/checkpoints/step_00001200/, with one HDF5 file per rank for the elements it owns and,
// written last, manifest.json.  A folder without a valid manifest is no checkpoint.  README.md beside this
// file has the format.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/tensor.h"
#include "parallel/communicator.h"

namespace trireme {

// A flat float32 vector that every rank holds whole ("parameters", "adam_m", "adam_v"), with the names and
// shapes of what lies in it, which a checkpoint must match to be loaded.
struct CheckpointEntry {
  std::string name;
  std::int64_t offset = 0;  // elements
  Shape shape;
};
struct CheckpointTensor {
  std::string name;
  Tensor values;
};

// The small state beside the tensors.
struct TrainState {
  std::int64_t step = 0;           // optimizer steps done
  std::int64_t samples = 0;        // training sequences consumed: the whole position in the data
  std::int64_t skipped_steps = 0;  // steps dropped for a gradient that was not finite
  std::int64_t seed = 0;
  std::string dataset_id;  // identity of the data; another one is refused
};

struct CheckpointContents {
  std::vector<CheckpointEntry> layout;    // of every tensor in `tensors`
  std::vector<CheckpointTensor> tensors;  // all of the same length
  TrainState state;
  std::string model_json;  // what `generate` and `evaluate` rebuild the model from
};

}  // namespace trireme
