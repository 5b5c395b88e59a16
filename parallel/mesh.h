// How the ranks of a job are laid out along the axes of parallelism.
#pragma once

#include <optional>
#include <string>

#include "parallel/process.h"

namespace trireme {

// The size of each axis; 0 stands for "as many as fit".
struct MeshShape {
  int data = 0;  // replicas, each with its own part of the global batch
};

// Maps ranks to axes and hands out one communicator per axis.
class Mesh {
 public:
  // Says why `shape` cannot hold `num_ranks` ranks and what would fit; nothing when it can.
  static std::optional<std::string> why_not(const MeshShape& shape, int num_ranks);

  // REQUIRES: !why_not(shape, process.num_ranks()).  `process` outlives the mesh.
  Mesh(const MeshShape& shape, Process& process);

  Communicator& data() const { return *data_; }

 private:
  Communicator* data_;
};

}  // namespace trireme
