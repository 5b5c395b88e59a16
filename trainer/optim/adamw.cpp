#include "trainer/optim/adamw.h"

#include <array>

#include "kernels/elementwise.h"
#include "kernels/memory_label.h"
#include "trainer/model/memory_remedies.h"

namespace trireme {
namespace {

// What of the owned elements decays and what doesn't: each parameter, with the gap behind it, does like its
// neighbours or otherwise.
std::vector<AdamWStretch> stretches_of(const ParameterBuffer& parameters, const std::vector<FlatRange>& owned,
                                       double weight_decay) {
  std::vector<AdamWStretch> stretches;
  const auto& all = parameters.parameters();
  for (const FlatRange& range : owned) {
    for (std::size_t first = 0, next = 0; first < all.size(); first = next) {
      while (next < all.size() && all[next].weight_decay == all[first].weight_decay) ++next;
      const std::int64_t end = next < all.size() ? all[next].offset : parameters.num_elements();
      const FlatRange elements = common_part({all[first].offset, end}, range);
      if (elements.size() == 0) continue;
      stretches.push_back(
          {.begin = elements.begin,
           .end = elements.end,
           .weight_decay = all[first].weight_decay ? static_cast<float>(weight_decay) : 0.0F});
    }
  }
  return stretches;
}

}  // namespace

AdamW::AdamW(const ParameterBuffer& parameters, const OptimConfig& config)
    : AdamW(parameters, config, {{0, parameters.num_elements()}}) {}

AdamW::AdamW(const ParameterBuffer& parameters, const OptimConfig& config,
             const std::vector<FlatRange>& owned)
    : parameters_(parameters),
      config_(config),
      table_(stretches_of(parameters, owned, config.weight_decay), parameters.values().device()),
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

void AdamW::set_learning_rate(double learning_rate, Stream stream) {
  fill(factors_.slice(0, kLearningRate, kLearningRate + 1), static_cast<float>(learning_rate), stream);
}

void AdamW::step(Tensor gradients, Tensor squared_norm_1, Tensor loss_1, Stream stream) {
  const AdamWOptions options{.beta1 = static_cast<float>(config_.beta1),
                             .beta2 = static_cast<float>(config_.beta2),
                             .epsilon = static_cast<float>(config_.epsilon)};
  begin_update(factors_, counts_, norm_, squared_norm_1, loss_1, static_cast<float>(config_.grad_clip),
               options, stream);
  const Tensor values = parameters_.values();
  const Tensor rounded = parameters_.operands_are_values()
                             ? Tensor()
                             : parameters_.padded_operands().slice(0, 0, values.num_elements());
  adamw_step(values, rounded, m_, v_, gradients, factors_, table_, options, stream);
}

}  // namespace trireme
