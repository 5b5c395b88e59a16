// A trained model, out of its run.
#pragma once

#include <filesystem>
#include <memory>

#include "data/tokenizer/tokenizer.h"
#include "parallel/communicator.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/model/transformer.h"

namespace trireme {

struct TrainedModel {
  std::filesystem::path checkpoint;  // where it came from
  TrainState state;
  std::unique_ptr<Transformer> model;  // not allocated
  std::unique_ptr<Tokenizer> tokenizer;
};

// `path` is a run's directory, of which the newest checkpoint is taken, or one checkpoint's folder.  Every rank calls it.
// Throws UserError when there is none, or it is damaged.
TrainedModel load_model(const std::filesystem::path& path, Communicator& communicator);

}  // namespace trireme
