#include "parallel/mesh.h"

#include <glog/logging.h>

namespace trireme {

std::optional<std::string> Mesh::why_not(const MeshShape& shape, int num_ranks) {
  if (shape.data == 0 || shape.data == num_ranks) return std::nullopt;
  const std::string ranks = std::to_string(num_ranks) + (num_ranks == 1 ? " rank" : " ranks");
  if (shape.data < 0) return "an axis of size " + std::to_string(shape.data) + "; " + ranks + " would fit";
  return "the data axis has " + std::to_string(shape.data) + " ranks and the job has " +
         std::to_string(num_ranks) + "; data = " + std::to_string(num_ranks) +
         " fits, and so does 0 for all ranks";
}

Mesh::Mesh(const MeshShape& shape, Process& process) : data_(&process.world()) {
  const std::optional<std::string> problem = why_not(shape, process.num_ranks());
  CHECK(!problem) << *problem;
}

}  // namespace trireme
