// How the whole model's flat vectors are cut for the disk: each rank writes, and reads, a slice of each.
#pragma once

#include <cstdint>
#include <vector>

#include "data/checksum.h"
#include "parallel/communicator.h"
#include "parallel/flat_range.h"

namespace trireme {

inline constexpr std::int64_t kBlockElements = kChecksumBlockBytes / static_cast<std::int64_t>(sizeof(float));

// Whole blocks of the checksum, as many for each rank as for the others, or one more; the vector's last block
// may be shorter.
FlatRange slice_of(std::int64_t num_elements, int rank, int num_ranks);

// Slices move in rounds, so that no memory has to hold one: in each round every rank has to do with the next
// window of its slice.
class SliceWindows {
 public:
  // By default windows have 4 MiB: worth a message to each rank, and yet in the cache from copy to checksum.
  SliceWindows(std::int64_t num_elements, int num_ranks, std::int64_t window_blocks = 64);

  FlatRange slice(int rank) const { return slice_of(num_elements_, rank, num_ranks_); }
  int num_rounds() const;
  FlatRange window(int rank, int round) const;  // empty when the slice ended before

 private:
  std::int64_t num_elements_;
  int num_ranks_;
  std::int64_t window_elements_;
};

// The checksum that the whole vector has, from those of the blocks of each rank's slice.
std::uint64_t checksum_of_slices(const std::vector<std::uint64_t>& block_checksums, std::int64_t num_elements,
                                 Communicator& communicator);

}  // namespace trireme
