// Checkpoints: what a run needs to go on, as if it had never stopped.
//
// One folder each, RUN/checkpoints/step_00001200/, with one HDF5 file per rank for the elements it wrote and,
// written last, manifest.json.  A folder is written under a temporary name, brought to the disk, and renamed
// when it is complete; it is never written to again.  README.md beside this file has the format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "kernels/tensor.h"
#include "parallel/communicator.h"
#include "parallel/parameter_buffer.h"
#include "parallel/parameter_part.h"

namespace trireme {

// One parameter's place in every tensor of a checkpoint: that of the whole model as one rank lays it out.
struct CheckpointEntry {
  std::string name;
  std::int64_t offset = 0;  // elements
  Shape shape;

  bool operator==(const CheckpointEntry&) const = default;
};

// Where each of the parameters lies.  REQUIRES: all of the model, though no memory.
std::vector<CheckpointEntry> layout_of(const ParameterBuffer& parameters);

// Which elements of the whole model's flat vectors lie where in this rank's memory; pieces.h makes them.  The
// pieces of both lists ascend in the whole and overlap nowhere, and none is of two parameters.
struct CheckpointPieces {
  std::vector<Piece> owned;   // saved by this rank alone: each element of a parameter is owned by one rank
  std::vector<Piece> copies;  // of elements that another rank owns
};

// A flat float32 vector of the whole model, "parameters", "adam_m" or "adam_v", of which each rank holds
// some.
struct CheckpointTensor {
  std::string name;
  Tensor values;  // this rank's memory; a device has done what it was given to do with it
  CheckpointPieces pieces;
};

// The small state beside the tensors.
struct TrainState {
  std::int64_t step = 0;           // optimizer steps done
  std::int64_t samples = 0;        // training sequences (or pairs) consumed: the whole position in the data
  std::int64_t tokens = 0;         // trained on; -1 in checkpoints of earlier versions, which don't know
  std::int64_t skipped_steps = 0;  // steps dropped for a gradient that was not finite
  std::int64_t seed = 0;
  std::string dataset_id;  // identity of the data

  bool operator==(const TrainState&) const = default;
};

struct CheckpointContents {
  std::vector<CheckpointEntry> layout;  // of every tensor in `tensors`, in the order of offsets
  std::int64_t num_elements = 0;        // of each of them, whole, with the gaps between parameters
  std::vector<CheckpointTensor> tensors;
  TrainState state;
  std::string model_json;  // an object: what `generate` and `evaluate` rebuild the model from
  // Keys of model_json that a run may change when it goes on, such as the dropout.
  std::vector<std::string> changeable_keys;
};

// Which checkpoints stay when another one has been saved: the newest `last`, and all whose step is a multiple
// of `every` (0: none for that reason).  The one just saved always stays.
struct KeepPolicy {
  std::int64_t last = 2;
  std::int64_t every = 0;
};

// Every rank calls it with the same contents but for its values and pieces, and writes a slice.  When it
// returns nothing, the checkpoint is complete and would survive a power cut.  Otherwise it returns, on every
// rank alike, which rank could not do what and why, or which copy is not what its owner holds; nothing new is
// left behind, older checkpoints are as they were, and the run may go on.
//
// A checkpoint of this step that is there already is left alone: if it holds the same, all is well; if it is
// damaged, it is renamed to step_XXXXXXXX.damaged; if it holds something else, saving fails.
std::optional<std::string> save_checkpoint(const std::filesystem::path& run,
                                           const CheckpointContents& contents, const KeepPolicy& keep,
                                           Communicator& communicator);

// Every rank calls it, with tensors to fill, of which it fills the pieces, and the state and model that the
// run expects.  Takes the newest checkpoint whose every byte is as it was written, warning of newer ones that
// are not, and returns its folder; nothing if there is no checkpoint.  Any layout of ranks loads what any
// other saved.
//
// Throws UserError, on every rank alike, when there are checkpoints and all are damaged, and when the one to
// load is of another model, seed or data set, which is named.
std::optional<std::filesystem::path> load_newest_checkpoint(const std::filesystem::path& run,
                                                            CheckpointContents& contents,
                                                            Communicator& communicator);

// Removes what saves that were killed left behind.  REQUIRES: one rank calls it, and no rank of this run is
// saving.  A save of another job, by mistake on the same run, then fails and damages nothing.
void clean_checkpoints(const std::filesystem::path& run);

}  // namespace trireme
