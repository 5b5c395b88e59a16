#include "tests/reference/embedding.h"

#include "tests/reference/dropout.h"

namespace trireme::reference {

Array embedding(const Tokens& tokens, const Array& token_table, const Array& position_table,
                const Tokens& positions, double scale, const Dropout& dropout, std::int64_t c) {
  Array x = zeros(std::ssize(tokens) * c);
  for (std::int64_t i = 0; i < std::ssize(x); ++i) {
    const auto n = static_cast<std::size_t>(i / c);
    at(x, i) = scale * at(token_table, tokens[n] * c + i % c);
    if (!position_table.empty()) at(x, i) += at(position_table, positions[n] * c + i % c);
  }
  return reference::dropout(x, dropout);
}

void embedding_backward(Array& dtoken_table, Array& dposition_table, const Array& dx, const Tokens& tokens,
                        const Tokens& positions, double scale, const Dropout& dropout, std::int64_t c) {
  const Array dropped = reference::dropout(dx, dropout);
  for (std::int64_t i = 0; i < std::ssize(dx); ++i) {
    const auto n = static_cast<std::size_t>(i / c);
    at(dtoken_table, tokens[n] * c + i % c) += scale * at(dropped, i);
    if (!dposition_table.empty()) at(dposition_table, positions[n] * c + i % c) += at(dropped, i);
  }
}

}  // namespace trireme::reference
