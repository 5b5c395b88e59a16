#include "kernels/padding.h"

#include "kernels/cpu/isa.h"

TRIREME_BEGIN_ISA

void mark_padding(Tensor marks_BS, Tensor lengths_B, std::int32_t padding, Stream) {
  const std::int64_t sequence = marks_BS.dim(1);
  const std::int32_t* const lengths = lengths_B.data<std::int32_t>();
  std::int32_t* row = marks_BS.data<std::int32_t>();
  for (std::int64_t b = 0; b < marks_BS.dim(0); ++b, row += sequence) {
    for (std::int64_t s = 0; s < sequence; ++s) row[s] = s < lengths[b] ? 0 : padding;
  }
}

TRIREME_END_ISA
