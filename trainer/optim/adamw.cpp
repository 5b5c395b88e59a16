#include "trainer/optim/adamw.h"

#include <array>

#include "kernels/adamw.h"
#include "kernels/elementwise.h"
#include "kernels/memory_label.h"
#include "trainer/model/memory_remedies.h"

namespace trireme {

AdamW::AdamW(const ParameterBuffer& parameters, const OptimConfig& config)
    : AdamW(parameters, config, {{0, parameters.num_elements()}}) {}

AdamW::AdamW(const ParameterBuffer& parameters, const OptimConfig& config,
             const std::vector<FlatRange>& owned)
    : parameters_(parameters),
      config_(config),
      small_memory_((std::int64_t{kNumAdamWFactors} + kNumUpdateCounts + 1) * size_bytes(DType::kFloat32),
                    parameters.values().device()) {
  std::int64_t used_bytes = 0;
  const auto take = [&](DType dtype, std::int64_t count) {
    const Tensor numbers = small_memory_.tensor(dtype, {count}, used_bytes);
    used_bytes += count * size_bytes(dtype);
    return numbers;
  };
  small_memory_.zero();
  factors_ = take(DType::kFloat32, kNumAdamWFactors);
  counts_ = take(DType::kInt32, kNumUpdateCounts);
  norm_ = take(DType::kFloat32, 1);
  const std::int64_t size = parameters.num_elements();
  const auto& all = parameters.parameters();
  for (std::size_t first = 0, next = 0; first < all.size(); first = next) {
    while (next < all.size() && all[next].weight_decay == all[first].weight_decay) ++next;
    const FlatRange alike{all[first].offset, next < all.size() ? all[next].offset : size};
    for (const FlatRange& range : owned) {
      const FlatRange elements = common_part(alike, range);
      if (elements.size() > 0)
        stretches_.push_back({.elements = elements, .decays = all[first].weight_decay});
    }
  }
  const bool owns_all = owned == std::vector<FlatRange>{{0, size}};
  const MemoryLabel label("optimizer moments", kFewerMoments);
  const auto zeros = [&](PagedBuffer& memory) {
    memory = PagedBuffer(size * size_bytes(DType::kFloat32), owns_all ? Pages::kLarge : Pages::kSmall,
                         parameters.values().device());
    for (const auto& [begin, end] : owned)
      memory.acquire(begin * size_bytes(DType::kFloat32), end * size_bytes(DType::kFloat32),
                     Contents::kZeros);
    return memory.tensor(DType::kFloat32, {size});
  };
  m_ = zeros(m_memory_);
  v_ = zeros(v_memory_);
}

void AdamW::resume(std::int64_t updates, std::int64_t skipped, Stream stream) {
  std::array<std::int32_t, kNumUpdateCounts> counts{};
  counts[kUpdates] = static_cast<std::int32_t>(updates);
  counts[kSkippedSteps] = static_cast<std::int32_t>(skipped);
  copy(counts_, {counts.data(), DType::kInt32, {kNumUpdateCounts}}, stream);
  stream.synchronize();
}

void AdamW::step(Tensor gradients, Tensor squared_norm_1, Tensor loss_1, double learning_rate,
                 std::int64_t step, Stream stream) {
  AdamWOptions options{.learning_rate = static_cast<float>(learning_rate),
                       .beta1 = static_cast<float>(config_.beta1),
                       .beta2 = static_cast<float>(config_.beta2),
                       .epsilon = static_cast<float>(config_.epsilon)};
  begin_update(factors_, counts_, norm_, squared_norm_1, loss_1, static_cast<float>(config_.grad_clip), step,
               options, stream);
  for (const Stretch& stretch : stretches_) {
    options.weight_decay = stretch.decays ? static_cast<float>(config_.weight_decay) : 0.0F;
    const auto part = [&](Tensor flat) {
      return flat.slice(0, stretch.elements.begin, stretch.elements.end);
    };
    const Tensor operands = parameters_.operands_are_values() ? Tensor() : parameters_.padded_operands();
    adamw_step(part(parameters_.values()), operands ? part(operands) : Tensor(), part(m_), part(v_),
               part(gradients), factors_, options, stream);
  }
}

}  // namespace trireme
