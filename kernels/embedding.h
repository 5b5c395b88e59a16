// Token and position embeddings.
#pragma once

#include <cstdint>

#include "kernels/dropout.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"
#include "kernels/vocabulary.h"

namespace trireme {

// x[B, T, C] = dropout(scale token_table[tokens[B, T]] + position_table[p]), where p is first_position + t,
// or positions[B, T] (int32) where these are given, as packed documents need them.  `position_table` may be
// empty.  Numbers are float32; on a CUDA device x and the token table may be bfloat16, both or none, and the
// position table of x's type or float32.  REQUIRES: every token in [0, V), every position in [0, P), which on
// a CUDA device the kernel itself checks: there one outside traps.  Of a part of the vocabulary, tokens of
// other parts count as rows of zeros.
void embedding_forward(Tensor x_BTC, Tensor tokens_BT, Tensor token_table_VC, Tensor position_table_PC,
                       std::int64_t first_position, Tensor positions_BT, float scale, Dropout dropout,
                       Stream stream, VocabularyPart part = {});

// Both tables' gradients +=, for first_position = 0; `dposition_table` may be empty.  Deterministic: each row
// sums its tokens in batch order.  The tables' gradients are float32.  On a CUDA device dx may be bfloat16, and
// the token table's gradient with it, where it is rows of numbers that dx's were gathered from: a row that
// several tokens add to is then rounded each time.  Of a part of the vocabulary, tokens of other parts add
// nothing to its table.
void embedding_backward(Tensor dtoken_table_VC, Tensor dposition_table_PC, Tensor dx_BTC, Tensor tokens_BT,
                        Tensor positions_BT, float scale, Dropout dropout, Stream stream,
                        VocabularyPart part = {});

}  // namespace trireme
