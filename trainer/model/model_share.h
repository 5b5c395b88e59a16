// Which share of a model a rank has.
#pragma once

#include <vector>

#include "parallel/communicator.h"
#include "parallel/layer_partition.h"

namespace trireme {

// By default all of it.  The communicators outlive the model.
struct ModelShare {
  Communicator* tensor = nullptr;    // the ranks that share each layer; none: this one has them whole
  Communicator* pipeline = nullptr;  // the stages that share the layers; none: there is one
  // The layers of each part of the model, of all stages: part c p + s is chunk c of stage s of p (see
  // pipeline_schedule.h).  Of an encoder-decoder, its encoder's layers come first.  Empty: one part has all.
  std::vector<LayerRange> parts = {};
};

}  // namespace trireme
