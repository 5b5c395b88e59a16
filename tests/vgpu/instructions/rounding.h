#pragma once

#include <string_view>

#include "tests/vgpu/instructions/formats.h"
#include "tests/vgpu/machine/lowering.h"

namespace trireme::vgpu {

// Sets how the host's floating-point unit rounds, for as long as it lives.
class RoundingScope {
 public:
  explicit RoundingScope(Round round);
  ~RoundingScope();
  RoundingScope(const RoundingScope&) = delete;
  RoundingScope& operator=(const RoundingScope&) = delete;

 private:
  unsigned saved_;
};

// Takes .rn, .rz, .rm or .rp; kNearest if there is none.
Round take_rounding(Modifiers& m);

// Makes the Instr, which rounds to nearest, round that way.  Uses its `imm`.
void set_rounding(Instr& i, Round round);

}  // namespace trireme::vgpu
