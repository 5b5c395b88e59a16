#include "trainer/attention_entropy.h"

#include <algorithm>

#include "data/loader.h"
#include "kernels/attention_probabilities.h"
#include "kernels/buffer.h"
#include "kernels/host_copy.h"

namespace trireme {
namespace {

constexpr float kAbsent = -1.0F;  // of a layer that one sequence went through more often than another

// The means over the queries of a pass.
class EntropyMeter : public AttentionObserver {
 public:
  void observe(AttentionKind kind, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
               Stream stream) override {
    const std::int64_t batch = q_BTHD.dim(0), queries = q_BTHD.dim(1), heads = q_BTHD.dim(2);
    const std::int64_t bytes = batch * heads * queries * size_bytes(DType::kFloat32);
    if (memory_.size_bytes() < bytes) memory_ = Buffer(bytes, stream.device());
    const Tensor entropy_BHT = memory_.tensor(DType::kFloat32, {batch, heads, queries});
    attention_entropy(entropy_BHT, q_BTHD, k_BSKD, options, stream);
    const std::vector<float> entropies = host_copy<float>(entropy_BHT, stream);
    std::vector<double> sums(static_cast<std::size_t>(heads), 0.0);
    for (std::size_t i = 0; i < entropies.size(); ++i) {
      sums[i / static_cast<std::size_t>(queries) % sums.size()] += static_cast<double>(entropies[i]);
    }
    std::vector<float>& means = layers_[static_cast<std::size_t>(kind)].emplace_back();
    for (const double sum : sums)
      means.push_back(static_cast<float>(sum / static_cast<double>(batch * queries)));
  }

  // By layer, then head.
  const std::vector<std::vector<float>>& layers(std::size_t kind) const { return layers_[kind]; }

 private:
  std::array<std::vector<std::vector<float>>, kNumAttentionKinds> layers_;
  Buffer memory_;  // of a pass's entropies
};

// The most layers, and heads, of each kind that any rank has seen.
struct Sizes {
  std::array<std::int32_t, kNumAttentionKinds> layers{};
  std::array<std::int32_t, kNumAttentionKinds> heads{};
};

Sizes agreed_sizes(const std::vector<EntropyMeter>& meters, Communicator& axis) {
  Sizes sizes;
  for (const EntropyMeter& meter : meters) {
    for (std::size_t kind = 0; kind < kNumAttentionKinds; ++kind) {
      const auto& layers = meter.layers(kind);
      if (layers.empty()) continue;
      sizes.layers[kind] = std::max(sizes.layers[kind], static_cast<std::int32_t>(layers.size()));
      sizes.heads[kind] = static_cast<std::int32_t>(layers.front().size());
    }
  }
  for (auto* numbers : {&sizes.layers, &sizes.heads}) {
    const Tensor all(numbers->data(), DType::kInt32, {std::ssize(*numbers)});
    axis.wait(axis.all_reduce(all, ReduceOp::kMax, Stream()), Stream());
  }
  return sizes;
}

}  // namespace

bool AttentionEntropies::empty() const {
  return std::all_of(layers.begin(), layers.end(), [](const auto& of_kind) { return of_kind.empty(); });
}

AttentionEntropies mean_attention_entropies(std::int64_t count,
                                            const std::function<void(std::int64_t, AttentionObserver&)>& pass,
                                            Communicator& data_axis) {
  const RowRange mine = rows_of_rank(count, data_axis.rank(), data_axis.size());
  std::vector<EntropyMeter> meters(static_cast<std::size_t>(mine.size()));
  for (std::int64_t i = mine.begin; i < mine.end; ++i)
    pass(i, meters[static_cast<std::size_t>(i - mine.begin)]);
  const Sizes sizes = agreed_sizes(meters, data_axis);

  AttentionEntropies result;
  for (std::size_t kind = 0; kind < kNumAttentionKinds; ++kind) {
    const auto layers = static_cast<std::size_t>(sizes.layers[kind]);
    const auto heads = static_cast<std::size_t>(sizes.heads[kind]);
    // [count, layers, heads]: a sum of one number and zeros is that number, in any order.
    std::vector<float> table(static_cast<std::size_t>(count) * layers * heads, 0.0F);
    if (table.empty()) continue;
    float* row = table.data() + static_cast<std::size_t>(mine.begin) * layers * heads;
    for (const EntropyMeter& meter : meters) {
      for (std::size_t layer = 0; layer < layers; ++layer, row += heads) {
        const auto& seen = meter.layers(kind);
        if (layer < seen.size()) {
          std::copy(seen[layer].begin(), seen[layer].end(), row);
        } else {
          std::fill(row, row + heads, kAbsent);
        }
      }
    }
    const Tensor all(table.data(), DType::kFloat32, {std::ssize(table)});
    data_axis.wait(data_axis.all_reduce(all, ReduceOp::kSum, Stream()), Stream());

    result.layers[kind].assign(layers, std::vector<double>(heads, 0.0));
    for (std::size_t i = 0; i < layers * heads; ++i) {
      double sum = 0.0;
      std::int64_t present = 0;
      for (std::size_t at = i; at < table.size(); at += layers * heads) {
        if (table[at] == kAbsent) continue;
        sum += static_cast<double>(table[at]);
        ++present;
      }
      result.layers[kind][i / heads][i % heads] = sum / static_cast<double>(present);
    }
  }
  return result;
}

}  // namespace trireme
