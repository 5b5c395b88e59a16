#include "parallel/layer_partition.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include <glog/logging.h>

namespace trireme {
namespace {

// Costs this near each other, relatively, are equal: they are differences of sums.
constexpr double kRounding = 1e-9;

std::string layers(int count) {
  return std::to_string(count) + (count == 1 ? " layer" : " layers");
}

// best[k][i]: the best that k parts can do with the layers from i on, when no part may cost more than
// `limit`.
class Partition {
 public:
  Partition(std::span<const double> costs, int num_parts)
      : num_layers_(static_cast<int>(costs.size())), num_parts_(num_parts), sums_(costs.size() + 1) {
    std::partial_sum(costs.begin(), costs.end(), sums_.begin() + 1);
  }

  std::vector<LayerRange> best() const {
    const double limit = solve([](double worst, double cost) { return std::max(worst, cost); },
                               std::numeric_limits<double>::infinity())
                             .front()
                             .value;
    const auto choices =
        solve([](double sum, double cost) { return sum + cost * cost; }, limit * (1 + kRounding));
    std::vector<LayerRange> ranges;
    int begin = 0;
    for (int parts = num_parts_; parts > 0; --parts) {
      const int end = choices[index(num_parts_ - parts, begin)].end;
      ranges.push_back({begin, end});
      begin = end;
    }
    return ranges;
  }

 private:
  struct Choice {
    double value = std::numeric_limits<double>::infinity();
    int end = 0;  // of the first part
  };

  std::size_t index(int part, int begin) const {
    return static_cast<std::size_t>(part * (num_layers_ + 1) + begin);
  }
  double cost(int begin, int end) const {
    return sums_[static_cast<std::size_t>(end)] - sums_[static_cast<std::size_t>(begin)];
  }

  // For each part and layer that it may begin with, the choice that makes `combine` over it and those behind
  // least.
  template <typename Combine>
  std::vector<Choice> solve(Combine combine, double limit) const {
    std::vector<Choice> choices(index(num_parts_, num_layers_) + 1);
    choices[index(num_parts_, num_layers_)].value = 0.0;
    for (int part = num_parts_ - 1; part >= 0; --part) {
      for (int begin = part; begin < num_layers_; ++begin) {
        Choice& choice = choices[index(part, begin)];
        for (int end = num_layers_; end > begin; --end) {  // a tie goes to the longer part
          if (cost(begin, end) > limit) continue;
          const double value = combine(choices[index(part + 1, end)].value, cost(begin, end));
          if (value < choice.value * (1 - kRounding)) choice = {value, end};
        }
      }
    }
    return choices;
  }

  int num_layers_;
  int num_parts_;
  std::vector<double> sums_;  // of the layers before
};

}  // namespace

std::optional<std::string> why_not_share(int num_layers, int num_parts) {
  if (num_parts < 1) return "the layers of " + std::to_string(num_parts) + " parts; 1 is the least";
  if (num_layers >= num_parts) return std::nullopt;
  return "the model has " + layers(num_layers) + " for " + std::to_string(num_parts) +
         " parts of the pipeline, and each needs one; at most " + std::to_string(num_layers) + " parts fit";
}

std::optional<std::string> why_not_share(int num_layers, int num_parts, std::span<const int> counts) {
  if (auto problem = why_not_share(num_layers, num_parts)) return problem;
  if (static_cast<int>(counts.size()) != num_parts) {
    return std::to_string(counts.size()) + " counts of layers for " + std::to_string(num_parts) +
           " parts of the pipeline; give " + std::to_string(num_parts);
  }
  if (std::any_of(counts.begin(), counts.end(), [](int count) { return count < 1; }))
    return "a part of the pipeline has no layer; give each 1 or more";
  const int total = std::accumulate(counts.begin(), counts.end(), 0);
  if (total == num_layers) return std::nullopt;
  return "the parts of the pipeline have " + layers(total) + " and the model has " +
         std::to_string(num_layers) + "; let the counts add up to that";
}

std::vector<LayerRange> share_layers(std::span<const int> counts) {
  std::vector<LayerRange> ranges;
  int begin = 0;
  for (const int count : counts) {
    ranges.push_back({begin, begin + count});
    begin += count;
  }
  return ranges;
}

std::vector<LayerRange> share_layers(std::span<const double> costs, int num_parts) {
  const auto problem = why_not_share(static_cast<int>(costs.size()), num_parts);
  CHECK(!problem) << *problem;
  CHECK(std::all_of(costs.begin(), costs.end(), [](double cost) { return cost >= 0.0; }));
  return Partition(costs, num_parts).best();
}

}  // namespace trireme
