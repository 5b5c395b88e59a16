#include "tests/vgpu/instructions/traffic.h"

#include <algorithm>
#include <vector>

#include "tests/vgpu/instructions/lanes.h"

namespace trireme::vgpu {
namespace {

constexpr uint64_t kSectorBytes = 32;
constexpr uint32_t kNumBanks = 32;
constexpr uint32_t kBankBytes = 4;

void keep_distinct(std::vector<uint64_t>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

// In one pass every bank delivers one word; lanes that want the same word share it.
uint64_t num_passes(const WarpAccess& a, LaneMask lanes) {
  std::vector<uint64_t> words;
  for_each_lane(a.active & lanes, [&](int lane) {
    const uint64_t begin = a.address[lane] / kBankBytes;
    const uint64_t end = (a.address[lane] + a.bytes + kBankBytes - 1) / kBankBytes;
    for (uint64_t word = begin; word < end; ++word) words.push_back(word);
  });
  keep_distinct(words);
  std::array<uint64_t, kNumBanks> per_bank{};
  for (const uint64_t word : words) ++per_bank[word % kNumBanks];
  return *std::max_element(per_bank.begin(), per_bank.end());
}

}  // namespace

void count_global(const WarpAccess& a, Counters& counters) {
  std::vector<uint64_t> addresses;
  std::vector<uint64_t> sectors;
  for_each_lane(a.active, [&](int lane) {
    addresses.push_back(a.address[lane]);
    sectors.push_back(a.address[lane] / kSectorBytes);  // aligned, so within one sector
  });
  keep_distinct(addresses);
  keep_distinct(sectors);
  counters.global_useful_bytes += addresses.size() * a.bytes;
  counters.global_sectors += sectors.size();
}

// Lanes of 8 bytes are served by half-warps, of 16 bytes by quarters.
void count_shared(const WarpAccess& a, Counters& counters) {
  const int lanes_at_once =
      a.bytes <= kBankBytes ? kWarpSize : static_cast<int>(kWarpSize * kBankBytes / a.bytes);
  for (int first = 0; first < kWarpSize; first += lanes_at_once) {
    const LaneMask lanes = (lanes_at_once == kWarpSize ? kAllLanes : (1u << lanes_at_once) - 1) << first;
    const uint64_t passes = num_passes(a, lanes);
    if (passes == 0) continue;
    ++counters.shared_accesses;
    counters.shared_conflicts += passes - 1;
  }
}

}  // namespace trireme::vgpu
