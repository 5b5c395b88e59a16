#include "trainer/checkpoint/slices.h"

#include <algorithm>
#include <span>

#include <glog/logging.h>

#include "trainer/checkpoint/agreement.h"

namespace trireme {
namespace {

std::int64_t num_blocks_of(std::int64_t num_elements) {
  return (num_elements + kBlockElements - 1) / kBlockElements;
}

}  // namespace

FlatRange slice_of(std::int64_t num_elements, int rank, int num_ranks) {
  const FlatRange blocks = share_of(num_blocks_of(num_elements), rank, num_ranks);
  return {std::min(blocks.begin * kBlockElements, num_elements),
          std::min(blocks.end * kBlockElements, num_elements)};
}

SliceWindows::SliceWindows(std::int64_t num_elements, int num_ranks, std::int64_t window_blocks)
    : num_elements_(num_elements), num_ranks_(num_ranks), window_elements_(window_blocks * kBlockElements) {}

int SliceWindows::num_rounds() const {
  return static_cast<int>((slice(0).size() + window_elements_ - 1) / window_elements_);  // none is longer
}

FlatRange SliceWindows::window(int rank, int round) const {
  const auto [begin, end] = slice(rank);
  return {std::min(begin + round * window_elements_, end),
          std::min(begin + (round + 1) * window_elements_, end)};
}

std::uint64_t checksum_of_slices(const std::vector<std::uint64_t>& block_checksums, std::int64_t num_elements,
                                 Communicator& communicator) {
  const int num_ranks = communicator.size();
  const auto num_blocks = [&](int rank) {
    return static_cast<std::size_t>(num_blocks_of(slice_of(num_elements, rank, num_ranks).size()));
  };
  CHECK_EQ(block_checksums.size(), num_blocks(communicator.rank()));
  std::vector<std::uint64_t> padded = block_checksums;
  padded.resize(num_blocks(0));
  const std::vector<std::uint64_t> of_ranks = gather_numbers(padded, communicator);
  std::vector<std::uint64_t> all;
  for (int rank = 0; rank < num_ranks; ++rank) {
    const auto begin = of_ranks.begin() + rank * std::ssize(padded);
    all.insert(all.end(), begin, begin + static_cast<std::ptrdiff_t>(num_blocks(rank)));
  }
  return checksum_of(std::as_bytes(std::span(all)));
}

}  // namespace trireme
