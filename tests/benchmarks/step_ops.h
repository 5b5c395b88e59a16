// What the ops of a training step cost, each by itself.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/device.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

struct OpTime {
  const char* name = "";
  double layer_ms = 0.0;  // forward and backward, of one layer
  double once_ms = 0.0;   // and at the model's ends
};

// Float32, at the shapes of a decoder of equal layers with norms before them and no dropout; without what the
// optimizer does.  `repetitions` as of time_ms().
std::vector<OpTime> time_step_ops(const TransformerOptions& options, std::int64_t batch,
                                  std::int64_t sequence, Device device, int repetitions);

}  // namespace trireme
