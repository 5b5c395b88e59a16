#include "kernels/cpu/isa.h"

#include <cstdlib>
#include <string>

#include <glog/logging.h>

namespace trireme::cpu {
namespace {

Isa best() {
#if defined(__x86_64__)
  // These look at the operating system's support of the registers, too.
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v4) return Isa::kV4;
  if (v3) return Isa::kV3;
#endif
  return Isa::kBaseline;
}

Isa choose() {
  const Isa have = best();
  const char* wanted = std::getenv("TRIREME_ISA");
  if (wanted == nullptr || *wanted == '\0') return have;
  for (const Isa level : {Isa::kBaseline, Isa::kV3, Isa::kV4}) {
    if (std::string(name(level)) == wanted && level <= have) return level;
  }
  LOG(WARNING) << "TRIREME_ISA=" << wanted << " is not a level of this machine; using " << name(have);
  return have;
}

}  // namespace

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

const char* name(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return "baseline";
    case Isa::kV3:
      return "v3";
    case Isa::kV4:
      return "v4";
  }
  return "?";
}

}  // namespace trireme::cpu
