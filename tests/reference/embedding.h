// Token and position embeddings.
#pragma once

#include "kernels/dropout.h"
#include "tests/reference/array.h"

namespace trireme::reference {

// An empty position table is none; positions[n] is the row of it that token n takes.
Array embedding(const Tokens& tokens, const Array& token_table, const Array& position_table,
                const Tokens& positions, double scale, const Dropout& dropout, std::int64_t c);

// += to both tables' gradients.
void embedding_backward(Array& dtoken_table, Array& dposition_table, const Array& dx, const Tokens& tokens,
                        const Tokens& positions, double scale, const Dropout& dropout, std::int64_t c);

}  // namespace trireme::reference
