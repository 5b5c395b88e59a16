#include "parallel/counted_ranges.h"

#include <algorithm>

namespace trireme {
namespace {

// Ascending; several may overlap.
std::vector<FlatRange> owned_by_others(const ParameterBuffer& parameters) {
  std::vector<FlatRange> ranges;
  for (const Parameter& parameter : parameters.parameters()) {
    for (const Replica& replica : parameter.replicas) {
      if (replica.group->rank() == 0) continue;
      ranges.push_back({parameter.offset + replica.elements.begin, parameter.offset + replica.elements.end});
    }
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const FlatRange& a, const FlatRange& b) { return a.begin < b.begin; });
  return ranges;
}

}  // namespace

std::vector<FlatRange> counted_ranges(const ParameterBuffer& parameters,
                                      const std::vector<FlatRange>& ranges) {
  const std::vector<FlatRange> others = owned_by_others(parameters);
  std::vector<FlatRange> counted;
  for (const FlatRange& range : ranges) {
    std::int64_t begin = range.begin;
    for (const FlatRange& other : others) {
      const FlatRange gap = common_part(other, {begin, range.end});
      if (gap.size() == 0) continue;
      if (begin < gap.begin) counted.push_back({begin, gap.begin});
      begin = gap.end;
    }
    if (begin < range.end) counted.push_back({begin, range.end});
  }
  return counted;
}

}  // namespace trireme
