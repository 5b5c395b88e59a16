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
  bool is_packed = false;  // positions are given, one by one
};

// Vocabularies are small, so that tokens occur many times.
constexpr Case kCases[] = {{1, 1, 1, 1, 0, 0.0F},
                           {2, 3, 5, 4, 2, 0.3F},
                           {3, 17, 64, 9, 0, 0.0F},
                           {2, 30, 130, 7, 11, 0.5F},
                           {1, 50, 201, 3, 0, 0.1F, 3.0F},
                           {2, 7, 40, 3, 2, 0.2F, 0.5F, false},
                           {3, 13, 37, 5, 0, 0.1F, 2.0F, true, true}};

struct Positions {
  reference::Tokens expected;  // of each token
  Operand given = Operand::zeros({0});

  explicit Positions(const Case& c) : expected(random_tokens(c.b * c.t, static_cast<std::int32_t>(c.t), 5)) {
    if (c.is_packed) {
      given = Operand::of(expected, {c.b, c.t});
      return;
    }
    for (std::int64_t n = 0; n < c.b * c.t; ++n) {
      expected[static_cast<std::size_t>(n)] = static_cast<std::int32_t>(c.first_position + n % c.t);
    }
  }
  Tensor positions_BT(const Case& c) const { return c.is_packed ? given.tensor() : Tensor(); }
};

TEST(Embedding, Forward) {
  for (const Case& c : kCases) {
    const reference::Tokens tokens = random_tokens(c.b * c.t, c.v, 1);
    const Operand tokens_BT = Operand::of(tokens, {c.b, c.t});
    const Operand token_table = Operand::random({c.v, c.c}, 2);
    const Operand position_table = Operand::random({c.t + 20, c.c}, 3);
    const Operand x = Operand::poisoned({c.b, c.t, c.c});
    const Dropout dropout{.probability = c.dropout, .key = 9, .offset = 400};
    Positions positions(c);
    embedding_forward(x, tokens_BT, token_table, c.has_positions ? position_table.tensor() : Tensor(),
                      c.first_position, positions.positions_BT(c), c.scale, dropout, test_stream());
    x.expect_near(reference::embedding(tokens, token_table.doubles(),
                                       c.has_positions ? position_table.doubles() : reference::Array(),
                                       positions.expected, c.scale, dropout, c.c),
                  1e-6, "x");
  }
}

TEST(Embedding, Backward) {
  for (Case c : kCases) {
    c.first_position = 0;
    const reference::Tokens tokens = random_tokens(c.b * c.t, c.v, 1);
    const Operand tokens_BT = Operand::of(tokens, {c.b, c.t});
    Positions positions(c);
    const Operand dx = Operand::random({c.b, c.t, c.c}, 2);
    const Operand dtokens = Operand::random({c.v, c.c}, 3);
    const Operand dpositions = Operand::random({c.t + 20, c.c}, 4);
    const Dropout dropout{.probability = c.dropout, .key = 9, .offset = 400};
    reference::Array expected_tokens = dtokens.doubles();
    reference::Array expected_positions = c.has_positions ? dpositions.doubles() : reference::Array();
    reference::embedding_backward(expected_tokens, expected_positions, dx.doubles(), tokens,
                                  positions.expected, c.scale, dropout, c.c);
    embedding_backward(dtokens, c.has_positions ? dpositions.tensor() : Tensor(), dx, tokens_BT,
                       positions.positions_BT(c), c.scale, dropout, test_stream());
    dtokens.expect_near(expected_tokens, 1e-5, "dtoken_table");
    if (c.has_positions) dpositions.expect_near(expected_positions, 1e-5, "dposition_table");
  }
}

TEST(Embedding, BackwardIsTheSameForAnyThreads) {
  reference::Tokens tokens = random_tokens(200, 5, 1);
  reference::Tokens positions = random_tokens(200, 9, 3);
  const Operand dx = Operand::random({4, 50, 300}, 2);
  expect_same_for_any_threads([&] {
    const Operand dtokens = Operand::zeros({5, 300});
    const Operand dpositions = Operand::zeros({50, 300});
    embedding_backward(dtokens, dpositions, dx, as_tensor(tokens, {4, 50}), as_tensor(positions, {4, 50}),
                       1.0F, {}, {});
    std::vector<float> both = dtokens.floats();
    const std::vector<float> of_positions = dpositions.floats();
    both.insert(both.end(), of_positions.begin(), of_positions.end());
    return both;
  });
}

TEST(EmbeddingDeathTest, TokensAndPositionsOutOfRange) {
  const Operand table = Operand::random({4, 8}, 1);
  const Operand x = Operand::poisoned({1, 3, 8});
  reference::Tokens tokens = {0, 4, 1};
  EXPECT_DEATH(embedding_forward(x, as_tensor(tokens, {1, 3}), table, table, 0, {}, 1.0F, {}, {}),
               "token 4 at 1, of a vocabulary of 4");
  tokens[1] = 3;
  EXPECT_DEATH(embedding_forward(x, as_tensor(tokens, {1, 3}), table, table, 2, {}, 1.0F, {}, {}),
               "positions \\[2, 5\\)");
  reference::Tokens positions = {0, 0, 4};
  EXPECT_DEATH(embedding_forward(x, as_tensor(tokens, {1, 3}), table, table, 0, as_tensor(positions, {1, 3}),
                                 1.0F, {}, {}),
               "position 4 at 2, of a table of 4");
}

}  // namespace
}  // namespace trireme
