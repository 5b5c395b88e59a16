// A stretch of flat memory.
#pragma once

#include <algorithm>
#include <cstdint>

namespace trireme {

struct FlatRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t size() const { return end - begin; }
  bool operator==(const FlatRange&) const = default;
};

// Of `size` things in order, the share of each rank: the first size % num_ranks ranks have one more.
inline FlatRange share_of(std::int64_t size, int rank, int num_ranks) {
  const std::int64_t each = size / num_ranks;
  const std::int64_t more = size % num_ranks;
  const std::int64_t begin = rank * each + (rank < more ? rank : more);
  return {begin, begin + each + (rank < more ? 1 : 0)};
}

// What both have; empty if nothing.
inline FlatRange common_part(const FlatRange& a, const FlatRange& b) {
  const std::int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

}  // namespace trireme
