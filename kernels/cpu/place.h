// Tokens in the order of their logits, as numbers that are compared at once.
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"

TRIREME_BEGIN_ISA

// A token with its logit, as a number: the likelier, the larger; of equal logits, the first token.
inline std::uint64_t place_of(float logit, std::int64_t token) {
  std::uint32_t bits = __builtin_bit_cast(std::uint32_t, logit + 0.0F);  // one zero
  bits = logit != logit ? 0U : (bits >> 31) != 0U ? ~bits : bits | 0x80000000U;
  return std::uint64_t{bits} << 32 | (0xFFFFFFFFU - static_cast<std::uint32_t>(token));
}
inline std::int32_t token_at(std::uint64_t place) {
  return static_cast<std::int32_t>(0xFFFFFFFFU - static_cast<std::uint32_t>(place));
}

TRIREME_END_ISA
