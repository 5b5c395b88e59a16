// The options of commands that translate.
#pragma once

#include <cstdint>

#include "trainer/beam_search.h"

namespace CLI {
class App;
}

namespace trireme {

struct BeamArguments {
  BeamOptions options;
  std::int64_t average = 1;  // checkpoints
  std::int64_t tokens_at_once = 2048;

  void add_to(CLI::App& command);  // which must not outlive the arguments
  // What to allocate a model of this context for, on either side.
  std::int64_t tokens_for(std::int64_t context) const;
};

}  // namespace trireme
