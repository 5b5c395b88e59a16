// The learning rate over a run.
#pragma once

#include <cstdint>

#include "trainer/config.h"

namespace trireme {

// The rate of step `step` (from 0) of `steps`.  It rises linearly over the first `warmup_steps`, then
//   cosine        falls to min_learning_rate along half a cosine (Loshchilov & Hutter 2017),
//   linear        falls to it on a line,
//   constant      stays,
//   inverse_sqrt  falls as sqrt(warmup_steps / (step + 1)) (Vaswani et al. 2017), with 1 for no warm-up.
double learning_rate_at(const OptimConfig& config, std::int64_t step, std::int64_t steps);

}  // namespace trireme
