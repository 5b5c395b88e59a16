// Attention of a few queries, as generation with a cache has it.
#pragma once

#include "kernels/attention.h"
#include "kernels/cpu/attention_mask.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/simd.h"

TRIREME_BEGIN_ISA

// With so many queries at most, a lane for each key is faster than one for each query.
inline constexpr std::int64_t kShortQueries = kLanes / 2;

// As attention_forward.
void attention_forward_short(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                             const AttentionOptions& options, const AttentionMask& mask);

TRIREME_END_ISA
