// cp.async: starts when it is executed, reads and lands when its lane waits for it.
#include <algorithm>
#include <bit>

#include "tests/vgpu/instructions/access.h"
#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/instructions/lanes.h"
#include "tests/vgpu/instructions/traffic.h"
#include "tests/vgpu/settings.h"

namespace trireme::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;

// Checks the part of the source that is read; a size that is no power of two in pieces.
void check_source(Warp& w, const Instr& i, const std::array<uint64_t, kWarpSize>& source,
                  const std::array<uint32_t, kWarpSize>& bytes, LaneMask active) {
  for (uint32_t piece = kWidestAccess; piece > 0; piece /= 2) {
    WarpAccess a;
    a.bytes = piece;
    for_each_lane(active, [&](int lane) {
      if (!(bytes[lane] & piece)) return;
      a.active |= 1u << lane;
      a.address[lane] = source[lane] + (bytes[lane] & ~(2 * piece - 1));
    });
    if (a.active) access(w, i, Space::kGlobal, a);
  }
}

// op: destination, source, size of the source; imm and list[0]: displacements; mode[0]: bytes; mode[1]: has
// the predicate list[1] (negated by mode[2]), under which the source is ignored.
void start_copies(Warp& w, const Instr& i, LaneMask active) {
  const uint32_t size = i.mode[0];
  WarpAccess destination;
  destination.active = active;
  destination.bytes = size;
  fill_addresses(w, i.op[0], i.imm, destination);
  WarpAccess source;
  fill_addresses(w, i.op[1], i.list[0], source);
  const LaneMask ignored = i.mode[1] ? w.predicate(i.list[1]) ^ (i.mode[2] ? kAllLanes : 0) : 0;
  std::array<uint32_t, kWarpSize> source_bytes;
  for (int lane = 0; lane < kWarpSize; ++lane)
    source_bytes[lane] = ignored >> lane & 1 ? 0 : std::min(w.at<uint32_t>(i.op[2])[lane], size);
  for_each_lane(active, [&](int lane) {
    const bool aligned = destination.address[lane] % size == 0 && source.address[lane] % size == 0;
    if (!aligned && (source_bytes[lane] || destination.address[lane] % size))
      give_up(Finding::kMisaligned,
              text("cp.async of ", size, " bytes from 0x", std::hex, source.address[lane], " to 0x",
                   destination.address[lane]),
              w.where(i, lane));
  });
  check_source(w, i, source.address, source_bytes, active);
  for_each_lane(active, [&](int lane) {
    AsyncCopy copy;
    copy.destination = static_cast<uint32_t>(destination.address[lane]);
    copy.source = source.address[lane];
    copy.bytes = static_cast<uint8_t>(size);
    copy.source_bytes = static_cast<uint8_t>(source_bytes[lane]);
    copy.lane = static_cast<uint8_t>(lane);
    copy.group = w.commit_group[lane];
    start_async_copy(w, i, copy);
    w.copies.push_back(copy);
  });
  if (settings().print_counters) count_shared(destination, w.counters);
}

void commit(Warp& w, const Instr&, LaneMask active) {
  for_each_lane(active, [&](int lane) { ++w.commit_group[lane]; });
}

// Lands what the active lanes have in the groups before their last `imm` ones; all of it if imm is negative.
void wait(Warp& w, const Instr& i, LaneMask active) {
  std::erase_if(w.copies, [&](const AsyncCopy& copy) {
    const bool waited = i.imm < 0 || copy.group + i.imm < w.commit_group[copy.lane];
    if (!(active >> copy.lane & 1) || !waited) return false;
    land_async_copy(w, copy);
    return true;
  });
}

bool lower_start(Lowering& to, const ptx::Instruction& in, Modifiers& m) {
  m.take_cache_hints();
  if (!m.take("shared") && !m.take("shared::cta")) return false;
  if (!m.take("global") || !m.empty() || in.operands.size() < 3 || in.operands.size() > 4) return false;
  const Address destination = to.address(in.operands[0]);
  const Address source = to.address(in.operands[1]);
  const uint64_t size = in.operands[2].bits;
  if (size != 4 && size != 8 && size != 16) return false;
  std::vector<Lanes> list = {static_cast<Lanes>(source.displacement)};
  Lanes source_bytes = to.constant(size, 32);
  bool negated = false;
  if (in.operands.size() == 4 && to.is_predicate(in.operands[3]))
    list.push_back(to.use_predicate(in.operands[3], negated));
  else if (in.operands.size() == 4)
    source_bytes = to.use(in.operands[3], 32);
  Instr& i = to.emit(start_copies, Nature::kEffect);
  i.op = {destination.base, source.base, source_bytes};
  i.imm = destination.displacement;
  i.mode = {static_cast<uint8_t>(size), list.size() > 1, negated};
  to.set_list(list);
  return true;
}

}  // namespace

bool lower_async_copy(Lowering& to, const ptx::Instruction& in) {
  if (in.opcode != "cp") return false;
  Modifiers m(in);
  if (!m.take("async")) return false;
  if (m.take("commit_group")) {
    to.emit(commit);
  } else if (m.take("wait_all")) {
    to.emit(wait).imm = -1;
  } else if (m.take("wait_group")) {
    const auto groups = static_cast<int64_t>(in.operands.at(0).bits);
    to.emit(wait).imm = groups;
  } else {
    return lower_start(to, in, m);
  }
  return m.empty();
}

}  // namespace trireme::vgpu
