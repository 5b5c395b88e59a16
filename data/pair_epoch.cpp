#include "data/pair_epoch.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <utility>

#include <glog/logging.h>

#include "data/pair_shard_writer.h"
#include "data/random.h"

namespace trireme {
namespace {

// Fisher and Yates's.
template <typename T>
void shuffle(std::vector<T>& things, std::uint64_t key) {
  for (std::size_t i = things.size(); i > 1; --i) std::swap(things[i - 1], things[random_at(key, i) % i]);
}

// Cells are numbered from long to short.  A strip is a length's leading five bits and how many bits follow
// them, and so 16 strips double the length; a cell of a strip is a difference of lengths, in the strip's own
// steps.
constexpr std::uint32_t kStrips = 224;  // up to lengths of 2^17 - 1
constexpr std::uint32_t kCellsPerStrip = 128;
constexpr std::uint32_t kCells = kStrips * kCellsPerStrip;
static_assert(PairShardWriter::kMaxLength + 1 < 1 << 17);

std::uint32_t cell_of(const PairLengths& lengths) {
  const auto length = static_cast<std::uint32_t>(longer_side(lengths));
  const int low_bits = std::max(0, static_cast<int>(std::bit_width(length)) - 5);
  const std::uint32_t strip = static_cast<std::uint32_t>(low_bits) * 16 + (length >> low_bits);
  const int difference = (int{lengths.source} - int{lengths.target}) / (1 << low_bits);  // -31 .. 31
  const int place = static_cast<int>(kCellsPerStrip) / 2 + (strip % 2 == 0 ? difference : -difference);
  return (kStrips - 1 - strip) * kCellsPerStrip + static_cast<std::uint32_t>(place);
}

// All pairs, cell after cell, in random order inside a cell.
std::vector<std::uint32_t> sorted_into_cells(std::span<const PairLengths> lengths, std::uint64_t key) {
  std::vector<std::uint32_t> shuffled(lengths.size());
  std::iota(shuffled.begin(), shuffled.end(), 0u);
  shuffle(shuffled, key);
  std::vector<std::size_t> places(kCells + 1);  // where a cell's next pair goes
  for (const PairLengths& pair : lengths) ++places[cell_of(pair) + 1];
  std::partial_sum(places.begin(), places.end(), places.begin());
  std::vector<std::uint32_t> sorted(lengths.size());
  for (const std::uint32_t pair : shuffled) sorted[places[cell_of(lengths[pair])]++] = pair;
  return sorted;
}

// Cuts as many pairs as fit, again and again.  A last batch of less than half the pairs of the one before it
// shares with it evenly, so that no step learns from a handful.
std::vector<std::int64_t> cut_into_batches(std::span<const PairLengths> lengths,
                                           std::span<const std::uint32_t> sorted, std::int64_t batch_tokens) {
  std::vector<std::int64_t> begins = {0};
  std::int64_t longest = 0;
  const auto size = static_cast<std::int64_t>(sorted.size());
  for (std::int64_t i = 0; i < size; ++i) {
    const std::int64_t length = longer_side(lengths[sorted[static_cast<std::size_t>(i)]]);
    CHECK_LE(length, batch_tokens);
    longest = std::max(longest, length);
    if ((i + 1 - begins.back()) * longest <= batch_tokens) continue;
    begins.push_back(i);
    longest = length;
  }
  if (size > 0) begins.push_back(size);
  if (const std::size_t n = begins.size();
      n > 2 && 2 * (size - begins[n - 2]) < begins[n - 2] - begins[n - 3])
    begins[n - 2] =
        (begins[n - 3] + size + 1) / 2;  // fits: lengths differ by a 16th at most, counts by a quarter
  return begins;
}

}  // namespace

PairEpoch::PairEpoch(std::span<const PairLengths> lengths, std::int64_t batch_tokens, std::uint64_t seed,
                     std::int64_t epoch) {
  CHECK_LT(lengths.size(), std::numeric_limits<std::uint32_t>::max());
  const std::uint64_t key = random_at(seed, static_cast<std::uint64_t>(epoch));
  const std::vector<std::uint32_t> sorted = sorted_into_cells(lengths, key);
  const std::vector<std::int64_t> cuts = cut_into_batches(lengths, sorted, batch_tokens);
  std::vector<std::uint32_t> batches(cuts.size() - 1);
  std::iota(batches.begin(), batches.end(), 0u);
  shuffle(batches, mixed(key));
  order_.reserve(sorted.size());
  begins_.push_back(0);
  for (const std::uint32_t batch : batches) {
    order_.insert(order_.end(), sorted.begin() + cuts[batch], sorted.begin() + cuts[batch + 1]);
    begins_.push_back(static_cast<std::int64_t>(order_.size()));
  }
}

std::span<const std::uint32_t> PairEpoch::pairs(std::int64_t batch) const {
  const auto first = static_cast<std::size_t>(begin(batch));
  return std::span(order_).subspan(first, static_cast<std::size_t>(begin(batch + 1)) - first);
}

std::optional<std::int64_t> PairEpoch::batch_at(std::int64_t begin) const {
  const auto found = std::lower_bound(begins_.begin(), begins_.end() - 1, begin);
  if (found == begins_.end() - 1 || *found != begin) return std::nullopt;
  return found - begins_.begin();
}

}  // namespace trireme
