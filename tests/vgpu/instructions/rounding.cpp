#include "tests/vgpu/instructions/rounding.h"

#include <xmmintrin.h>

namespace trireme::vgpu {
namespace {

constexpr unsigned kRoundingBits = 0x6000;  // of MXCSR

unsigned control_bits(Round round) {
  switch (round) {
    case Round::kZero:
      return 0x6000;
    case Round::kDown:
      return 0x2000;
    case Round::kUp:
      return 0x4000;
    default:
      return 0;
  }
}

// The handler proper is called through memory, so that the compiler can't move arithmetic out of the scope.
void rounded(Warp& w, const Instr& i, LaneMask active) {
  const RoundingScope scope(static_cast<Round>(i.mode[0]));
  const volatile auto handler = reinterpret_cast<Handler>(i.imm);
  handler(w, i, active);
}

}  // namespace

RoundingScope::RoundingScope(Round round) : saved_(_mm_getcsr()) {
  _mm_setcsr((saved_ & ~kRoundingBits) | control_bits(round));
}

RoundingScope::~RoundingScope() {
  _mm_setcsr(saved_);
}

Round take_rounding(Modifiers& m) {
  const int index = m.take_any({"rn", "rz", "rm", "rp"});
  return index < 0 ? Round::kNearest : static_cast<Round>(index);
}

void set_rounding(Instr& i, Round round) {
  if (round == Round::kNearest) return;
  i.imm = reinterpret_cast<int64_t>(i.run);
  i.mode[0] = static_cast<uint8_t>(round);
  i.run = rounded;
}

}  // namespace trireme::vgpu
