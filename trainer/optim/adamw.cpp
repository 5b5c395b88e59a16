#include "trainer/optim/adamw.h"

#include "kernels/adamw.h"

namespace trireme {

AdamW::AdamW(const ParameterBuffer& parameters, const OptimConfig& config)
    : parameters_(parameters), config_(config) {
  const std::int64_t size = parameters.num_elements();
  const std::int64_t bytes = size * size_bytes(DType::kFloat32);
  memory_ = Buffer(2 * bytes);
  memory_.zero();
  m_ = memory_.tensor(DType::kFloat32, {size});
  v_ = memory_.tensor(DType::kFloat32, {size}, bytes);
}

void AdamW::step(Tensor gradient_scale, double learning_rate, std::int64_t step, Stream stream) {
  AdamWOptions options{.learning_rate = static_cast<float>(learning_rate),
                       .beta1 = static_cast<float>(config_.beta1),
                       .beta2 = static_cast<float>(config_.beta2),
                       .epsilon = static_cast<float>(config_.epsilon),
                       .weight_decay = 0.0F,
                       .step = step};
  // Neighbours that decay alike are updated together.
  const auto& all = parameters_.parameters();
  for (std::size_t first = 0, next = 0; first < all.size(); first = next) {
    while (next < all.size() && all[next].weight_decay == all[first].weight_decay) ++next;
    const std::int64_t begin = all[first].offset;
    const std::int64_t end = next < all.size() ? all[next].offset : parameters_.num_elements();
    options.weight_decay = all[first].weight_decay ? static_cast<float>(config_.weight_decay) : 0.0F;
    const auto part = [&](Tensor flat) { return flat.slice(0, begin, end); };
    adamw_step(part(parameters_.values()), part(m_), part(v_), part(parameters_.gradients()), gradient_scale,
               options, stream);
  }
}

}  // namespace trireme
