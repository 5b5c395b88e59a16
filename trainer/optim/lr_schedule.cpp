#include "trainer/optim/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <glog/logging.h>

namespace trireme {

double learning_rate_at(const OptimConfig& config, std::int64_t step, std::int64_t steps) {
  const double peak = config.learning_rate;
  if (step < config.warmup_steps) {
    return peak * static_cast<double>(step + 1) / static_cast<double>(config.warmup_steps);
  }
  if (config.schedule == "constant") return peak;
  if (config.schedule == "inverse_sqrt") {
    const auto warmup = static_cast<double>(std::max<std::int64_t>(1, config.warmup_steps));
    return peak * std::sqrt(warmup / static_cast<double>(step + 1));
  }
  // The part of the way down that is done, 1 at the last step.
  const auto way = static_cast<double>(std::max<std::int64_t>(1, steps - 1 - config.warmup_steps));
  const double done = std::min(1.0, static_cast<double>(step - config.warmup_steps) / way);
  const double fall = peak - config.min_learning_rate;
  if (config.schedule == "linear") return peak - fall * done;
  CHECK_EQ(config.schedule, "cosine");
  return config.min_learning_rate + fall * 0.5 * (1.0 + std::cos(std::numbers::pi * done));
}

}  // namespace trireme
