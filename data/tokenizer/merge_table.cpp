#include "data/tokenizer/merge_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <queue>
#include <utility>

namespace trireme {
namespace {

constexpr std::size_t kShort = 64;  // symbols of a word that is merged by looking at all of them each time

std::uint64_t packed(TokenPair pair) {
  return std::uint64_t{static_cast<std::uint32_t>(pair.left)} << 32 | static_cast<std::uint32_t>(pair.right);
}

}  // namespace

MergeTable::MergeTable(std::size_t num_merges) : slots_(std::bit_ceil(2 * num_merges + 2)) {}

// Where the pair is, or the empty slot where it would be.
std::size_t MergeTable::slot_of(TokenPair pair) const {
  const std::uint64_t key = packed(pair);
  const std::uint64_t hash = key * 0x9E3779B97F4A7C15u;
  std::size_t slot = static_cast<std::size_t>(hash ^ hash >> 32) & (slots_.size() - 1);
  while (slots_[slot].merge.rank != kNone && slots_[slot].pair != key)
    slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void MergeTable::set(TokenPair pair, std::int32_t rank, std::int32_t token) {
  slots_[slot_of(pair)] = {packed(pair), {rank, token}};
}

void MergeTable::merge(std::span<std::int32_t> symbols, std::vector<std::int32_t>& tokens) const {
  const std::size_t size = symbols.size() <= kShort ? merge_short(symbols) : merge_long(symbols);
  tokens.insert(tokens.end(), symbols.begin(), symbols.begin() + static_cast<std::ptrdiff_t>(size));
}

// Returns how many symbols are left.
std::size_t MergeTable::merge_short(std::span<std::int32_t> symbols) const {
  std::array<Merge, kShort> merges;  // of symbols i and i + 1
  std::size_t size = symbols.size();
  for (std::size_t i = 0; i + 1 < size; ++i) merges[i] = find(symbols[i], symbols[i + 1]);
  while (size > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < size; ++i)
      if (merges[i].rank < merges[best].rank) best = i;
    if (merges[best].rank == kNone) break;
    symbols[best] = merges[best].token;
    std::copy(symbols.begin() + best + 2, symbols.begin() + size, symbols.begin() + best + 1);
    std::copy(merges.begin() + best + 2, merges.begin() + size, merges.begin() + best + 1);
    --size;
    if (best > 0) merges[best - 1] = find(symbols[best - 1], symbols[best]);
    if (best + 1 < size) merges[best] = find(symbols[best], symbols[best + 1]);
  }
  return size;
}

// A chain of symbols and a queue of what could be merged; what a merge has made out of date is passed over.
std::size_t MergeTable::merge_long(std::span<std::int32_t> symbols) const {
  constexpr std::size_t kEnd = SIZE_MAX;
  struct Link {
    std::size_t before;
    std::size_t after;
  };
  struct Candidate {
    std::int32_t rank;
    std::size_t place;  // of its left symbol
    TokenPair pair;
    std::int32_t token;
    bool operator<(const Candidate& other) const {  // the queue has the largest on top
      return rank != other.rank ? rank > other.rank : place > other.place;
    }
  };
  constexpr std::int32_t kGone = -1;
  std::vector<Link> links(symbols.size());
  std::vector<Candidate> begin;
  const auto candidate_at = [&](std::size_t place) {
    const TokenPair pair = {symbols[place], symbols[links[place].after]};
    const Merge merge = find(pair.left, pair.right);
    return Candidate{merge.rank, place, pair, merge.token};
  };
  for (std::size_t i = 0; i < symbols.size(); ++i)
    links[i] = {i == 0 ? kEnd : i - 1, i + 1 == symbols.size() ? kEnd : i + 1};
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
    if (const Candidate candidate = candidate_at(i); candidate.rank != kNone) begin.push_back(candidate);
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(begin));

  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    const std::size_t place = best.place;
    const std::size_t right = links[place].after;
    if (right == kEnd || symbols[place] != best.pair.left || symbols[right] != best.pair.right) continue;
    symbols[place] = best.token;
    symbols[right] = kGone;
    const std::size_t after = links[place].after = links[right].after;
    if (after != kEnd) links[after].before = place;
    for (const std::size_t left : {links[place].before, after == kEnd ? kEnd : place}) {
      if (left == kEnd) continue;
      if (const Candidate candidate = candidate_at(left); candidate.rank != kNone) queue.push(candidate);
    }
  }
  const auto end = std::remove(symbols.begin(), symbols.end(), kGone);
  return static_cast<std::size_t>(end - symbols.begin());
}

}  // namespace trireme
