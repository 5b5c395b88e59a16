// A whole training step on a CUDA device, taken apart.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/device.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

struct StepTimes {
  std::int64_t layers = 0;  // of the model that was timed
  double forward_ms = 0.0;  // with the loss
  double backward_ms = 0.0;
  double optimizer_ms = 0.0;  // norm of the gradient, AdamW
  double step_ms = 0.0;
  double flops = 0.0;  // of that step
  // Of the model with all its layers, which would take as much longer as it has more to compute.
  double tokens_per_second = 0.0;
};

// With as many layers of the model as the device's free memory allows, found by what a model of one and of
// two takes.  Nothing, if there is no room for two.  `repetitions` as of time_ms().
std::optional<StepTimes> time_training_step(TransformerOptions options, std::int64_t batch,
                                            std::int64_t sequence, Device device, int repetitions);

}  // namespace trireme
