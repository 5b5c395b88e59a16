// Token and position embeddings.
#pragma once

#include <cstdint>

#include "kernels/dropout.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// x[B, T, C] = dropout(scale token_table[tokens[B, T]] + position_table[first_position + t]).
// `position_table` may be empty.  REQUIRES: every token in [0, V); first_position + T at most the rows of
// position_table.
void embedding_forward(Tensor x_BTC, Tensor tokens_BT, Tensor token_table_VC, Tensor position_table_PC,
                       std::int64_t first_position, float scale, Dropout dropout, Stream stream);

// Both tables' gradients +=, for first_position = 0; `dposition_table` may be empty.  Deterministic: each row
// sums its tokens in batch order.
void embedding_backward(Tensor dtoken_table_VC, Tensor dposition_table_PC, Tensor dx_BTC, Tensor tokens_BT,
                        float scale, Dropout dropout, Stream stream);

}  // namespace trireme
