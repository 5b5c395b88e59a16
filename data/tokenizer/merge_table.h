// Which pairs of neighbouring tokens become one, and in which order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace trireme {

struct TokenPair {
  std::int32_t left = 0;
  std::int32_t right = 0;
  bool operator==(const TokenPair&) const = default;
};

class MergeTable {
 public:
  // Room for so many merges.
  explicit MergeTable(std::size_t num_merges);

  // Of two pairs of neighbours, the one with the lower rank is merged first.  A pair that is set again has
  // its last rank and token.
  void set(TokenPair pair, std::int32_t rank, std::int32_t token);

  // Merges the pair of the lowest rank, of equals the leftmost, until no neighbours merge, and appends what
  // is left.  A word of n symbols takes n log n steps; `symbols` is overwritten.
  void merge(std::span<std::int32_t> symbols, std::vector<std::int32_t>& tokens) const;

 private:
  static constexpr std::int32_t kNone = INT32_MAX;  // rank of what doesn't merge

  struct Merge {
    std::int32_t rank = kNone;
    std::int32_t token = 0;
  };
  struct Slot {  // of an open hash table
    std::uint64_t pair = 0;
    Merge merge;
  };

  std::size_t slot_of(TokenPair pair) const;
  Merge find(std::int32_t left, std::int32_t right) const { return slots_[slot_of({left, right})].merge; }
  std::size_t merge_short(std::span<std::int32_t> symbols) const;
  std::size_t merge_long(std::span<std::int32_t> symbols) const;

  std::vector<Slot> slots_;
};

}  // namespace trireme
