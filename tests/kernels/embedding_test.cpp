#include "kernels/embedding.h"

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"
#include "tests/reference/embedding.h"

namespace trireme {
namespace {

struct Case {
  std::int64_t b, t, c;
  std::int32_t v;
  std::int64_t first_position;
  float dropout;
  float scale = 1.0F;
  bool has_positions = true;
};

// Vocabularies are small, so that tokens occur many times.
constexpr Case kCases[] = {{1, 1, 1, 1, 0, 0.0F},          {2, 3, 5, 4, 2, 0.3F},
                           {3, 17, 64, 9, 0, 0.0F},        {2, 30, 130, 7, 11, 0.5F},
                           {1, 50, 201, 3, 0, 0.1F, 3.0F}, {2, 7, 40, 3, 2, 0.2F, 0.5F, false}};

TEST(Embedding, Forward) {
  for (const Case& c : kCases) {
    reference::Tokens tokens = random_tokens(c.b * c.t, c.v, 1);
    const Operand token_table = Operand::random({c.v, c.c}, 2);
    const Operand position_table = Operand::random({c.t + 20, c.c}, 3);
    const Operand x = Operand::poisoned({c.b, c.t, c.c});
    const Dropout dropout{.probability = c.dropout, .key = 9, .offset = 400};
    embedding_forward(x, as_tensor(tokens, {c.b, c.t}), token_table,
                      c.has_positions ? position_table.tensor() : Tensor(), c.first_position, c.scale,
                      dropout, {});
    x.expect_near(reference::embedding(tokens, token_table.doubles(),
                                       c.has_positions ? position_table.doubles() : reference::Array(),
                                       c.first_position, c.scale, dropout, c.t, c.c),
                  1e-6, "x");
  }
}

TEST(Embedding, Backward) {
  for (const Case& c : kCases) {
    reference::Tokens tokens = random_tokens(c.b * c.t, c.v, 1);
    const Operand dx = Operand::random({c.b, c.t, c.c}, 2);
    const Operand dtokens = Operand::random({c.v, c.c}, 3);
    const Operand dpositions = Operand::random({c.t + 20, c.c}, 4);
    const Dropout dropout{.probability = c.dropout, .key = 9, .offset = 400};
    reference::Array expected_tokens = dtokens.doubles();
    reference::Array expected_positions = c.has_positions ? dpositions.doubles() : reference::Array();
    reference::embedding_backward(expected_tokens, expected_positions, dx.doubles(), tokens, c.scale, dropout,
                                  c.t, c.c);
    embedding_backward(dtokens, c.has_positions ? dpositions.tensor() : Tensor(), dx,
                       as_tensor(tokens, {c.b, c.t}), c.scale, dropout, {});
    dtokens.expect_near(expected_tokens, 1e-5, "dtoken_table");
    if (c.has_positions) dpositions.expect_near(expected_positions, 1e-5, "dposition_table");
  }
}

TEST(Embedding, BackwardIsTheSameForAnyThreads) {
  reference::Tokens tokens = random_tokens(200, 5, 1);
  const Operand dx = Operand::random({4, 50, 300}, 2);
  expect_same_for_any_threads([&] {
    const Operand dtokens = Operand::zeros({5, 300});
    const Operand dpositions = Operand::zeros({50, 300});
    embedding_backward(dtokens, dpositions, dx, as_tensor(tokens, {4, 50}), 1.0F, {}, {});
    return dtokens.floats();
  });
}

TEST(EmbeddingDeathTest, TokensAndPositionsOutOfRange) {
  const Operand table = Operand::random({4, 8}, 1);
  const Operand x = Operand::poisoned({1, 3, 8});
  reference::Tokens tokens = {0, 4, 1};
  EXPECT_DEATH(embedding_forward(x, as_tensor(tokens, {1, 3}), table, table, 0, 1.0F, {}, {}),
               "token 4 at 1, of a vocabulary of 4");
  tokens[1] = 3;
  EXPECT_DEATH(embedding_forward(x, as_tensor(tokens, {1, 3}), table, table, 2, 1.0F, {}, {}),
               "positions \\[2, 5\\)");
}

}  // namespace
}  // namespace trireme
