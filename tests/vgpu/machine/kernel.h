#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/vgpu/ptx/module.h"

namespace trireme::vgpu {

constexpr uint64_t round_up(uint64_t x, uint64_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

constexpr int kWarpSize = 32;
using LaneMask = uint32_t;  // bit per lane of a warp
constexpr LaneMask kAllLanes = 0xffffffff;

class Warp;
struct Instr;
using Handler = void (*)(Warp& warp, const Instr& instr, LaneMask active);

// Where the 32 lanes of an operand lie: a byte offset from the start of the warp's registers or, if negative,
// from the end of the constants, which all warps share.  Registers, special registers and constants are alike
// to a handler. A lane has the width of the register (16, 32 or 64 bits); a predicate is one LaneMask.
using Lanes = int32_t;

// One instruction, ready to execute.
struct Instr {
  Handler run = nullptr;
  std::array<Lanes, 4> op{};  // by convention op[0] is the destination
  Lanes guard = 0;            // a predicate: it executes where guard ^ guard_flip
  LaneMask guard_flip = 0;
  int64_t imm = 0;                // displacement of an address, target of a branch, ...
  const Lanes* list = nullptr;    // operands beyond four
  uint32_t statement = 0;         // index into Kernel::statements
  std::array<uint8_t, 4> mode{};  // meaning depends on the handler
};

// Slots of the constants that change with the launch or the block; 128 bytes each, the first one ends the
// constants.
enum class BlockSlot {
  kTrue,
  kCtaidX,
  kCtaidY,
  kCtaidZ,
  kNctaidX,
  kNctaidY,
  kNctaidZ,
  kNtidX,
  kNtidY,
  kNtidZ,
  kNwarpid,
  kSmid,
  kNsmid,
  kDynamicSharedBytes,
  kTotalSharedBytes,
  kCount
};
// Slots at the start of a warp's registers.
enum class WarpSlot {
  kTidX,
  kTidY,
  kTidZ,
  kLaneid,
  kWarpid,
  kMaskEq,
  kMaskLe,
  kMaskLt,
  kMaskGe,
  kMaskGt,
  kCount
};

constexpr int kSlotBytes = 128;
constexpr Lanes lanes_of(BlockSlot slot) {
  return -kSlotBytes * (static_cast<int>(slot) + 1);
}
constexpr Lanes lanes_of(WarpSlot slot) {
  return kSlotBytes * static_cast<int>(slot);
}

// What is counted over all launches of a kernel.
struct Counters {
  uint64_t launches = 0;
  uint64_t blocks = 0;
  uint64_t warp_instructions = 0;
  uint64_t thread_instructions = 0;
  uint64_t global_useful_bytes = 0;  // asked for by threads, each address once per instruction
  uint64_t global_sectors = 0;       // 32-byte pieces that move for them
  uint64_t shared_accesses = 0;      // passes that conflict-free accesses would take
  uint64_t shared_conflicts = 0;     // further passes because of bank conflicts
  uint64_t mma = 0;
  uint64_t barriers = 0;  // per warp

  void add(const Counters& other);
};

// A kernel, translated from PTX with all functions that it calls inlined.
struct Kernel {
  struct Statement {
    uint32_t line = 0;  // of the PTX
    int location = -1;  // index into Module::locations
  };
  struct Parameter {
    uint32_t offset = 0;
    uint32_t bytes = 0;
  };
  struct Relocation {  // a constant that is the address of a variable, which differs by device
    Lanes constant = 0;
    std::string_view variable;
    int64_t addend = 0;
  };

  std::string name;
  std::string readable_name;
  const ptx::Module* module = nullptr;
  std::vector<Instr> code;
  std::vector<uint8_t> executed;  // beside the code: 1 where it was; empty unless TRIREME_VGPU_LINES is set
  std::vector<std::vector<Lanes>> lists;
  std::vector<Statement> statements;
  uint32_t register_bytes = 0;     // of one warp
  std::vector<Lanes> undefined;    // masks of lanes whose register is undefined; all set when a warp starts
  std::vector<uint8_t> constants;  // without the BlockSlots' values
  std::vector<Relocation> relocations;
  std::vector<Parameter> parameters;
  uint32_t parameter_bytes = 0;
  uint32_t shared_bytes = 0;  // static
  uint32_t local_bytes = 0;   // of one thread
  uint32_t max_threads = 1024;
  uint32_t required_threads = 0;             // 0: any
  int num_registers = 0;                     // of one thread by ptxas, 0 if not known
  int max_dynamic_shared_bytes = 48 * 1024;  // cudaFuncSetAttribute
  Counters counters;

  // "  ptx      line 7: st.global.f32 [%rd1], %f1;\n  source   saxpy.cu:12\n"
  std::string describe(uint32_t statement) const;
};

}  // namespace trireme::vgpu
