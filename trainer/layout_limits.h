// What a config and a mesh ask of each other.
#pragma once

#include "parallel/mesh.h"
#include "trainer/config.h"

namespace trireme {

// Throws UserError, which names the keys and the nearest values that fit, where the model cannot be shared as
// the mesh would have it.
void check_layout(const Config& config, const MeshLayout& mesh);

}  // namespace trireme
