// Which instruction set the CPU's vector kernels run on, chosen when the program starts.
//
// A vector kernel's source (kernels/cpu/*.cpp, other than those that CMakeLists.txt lists as compiled once)
// is compiled once per level, with TRIREME_ISA set to the level's name, into a namespace of that name.  Code
// that is to run on one level alone stands between TRIREME_BEGIN_ISA and TRIREME_END_ISA, after every
// #include:
//
//     #include "kernels/cpu/isa.h"
//     TRIREME_BEGIN_ISA
//     void fill(Tensor x, float value, Stream) { ... }
//     TRIREME_END_ISA
//
// The file's command line sets no architecture.  So an inline function of another header, which the linker
// merges over all files, is portable code wherever it was compiled; tests/kernels/isa_test.py looks that it
// is.
#pragma once

namespace trireme::cpu {

enum class Isa {
  kBaseline,  // whatever the compiler's target guarantees
  kV3,        // x86-64-v3: AVX2, FMA
  kV4,        // x86-64-v4: AVX-512
};

// The best level that this machine has and the build knows, or a lower one that the environment asks for:
// TRIREME_ISA=baseline, v3 or v4.  The same for the process's whole life.
Isa isa();
const char* name(Isa isa);

}  // namespace trireme::cpu

// What an op calls after its checks: the CPU implementation of `op` for this machine. TRIREME_DECLARE_CPU(op)
// goes before, at namespace trireme.
#if defined(__x86_64__)
#define TRIREME_DECLARE_CPU(op) \
  namespace cpu {               \
  namespace baseline {          \
  decltype(trireme::op) op;     \
  }                             \
  namespace v3 {                \
  decltype(trireme::op) op;     \
  }                             \
  namespace v4 {                \
  decltype(trireme::op) op;     \
  }                             \
  }
#define TRIREME_CPU(op)                                                         \
  (::trireme::cpu::isa() == ::trireme::cpu::Isa::kV4   ? ::trireme::cpu::v4::op \
   : ::trireme::cpu::isa() == ::trireme::cpu::Isa::kV3 ? ::trireme::cpu::v3::op \
                                                       : ::trireme::cpu::baseline::op)
#else
#define TRIREME_DECLARE_CPU(op) \
  namespace cpu {               \
  namespace baseline {          \
  decltype(trireme::op) op;     \
  }                             \
  }
#define TRIREME_CPU(op) (::trireme::cpu::baseline::op)
#endif

#define TRIREME_PRAGMA(text) _Pragma(#text)
#if defined(TRIREME_ISA)
#if TRIREME_ISA_LEVEL == 4
#define TRIREME_TARGET                                                                                    \
  TRIREME_PRAGMA(                                                                                         \
      GCC target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi,bmi2,f16c,lzcnt,movbe,popcnt," \
                 "prefer-vector-width=512"))
#elif TRIREME_ISA_LEVEL == 3
#define TRIREME_TARGET TRIREME_PRAGMA(GCC target("avx2,fma,bmi,bmi2,f16c,lzcnt,movbe,popcnt"))
#else
#define TRIREME_TARGET
#endif
#define TRIREME_BEGIN_ISA                                                  \
  TRIREME_PRAGMA(GCC push_options) TRIREME_TARGET namespace trireme::cpu { \
    namespace TRIREME_ISA {
#define TRIREME_END_ISA \
  }                     \
  }                     \
  TRIREME_PRAGMA(GCC pop_options)
#endif
