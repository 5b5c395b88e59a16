#include "kernels/embedding.h"

#include <vector>

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

// Parts of a vocabulary of 11: where each begins, and the end of the last.  Some have no token.
const std::vector<std::vector<std::int64_t>> kCuts = {{0, 4, 11}, {0, 1, 9, 11}, {0, 0, 6, 6, 11}};

TEST(Embedding, PartsOfTheVocabularyAddUpToTheWhole) {
  const reference::Tokens tokens = random_tokens(60, 11, 1);
  const Operand tokens_BT = Operand::of(tokens, {3, 20});
  const Operand token_table = Operand::random({11, 37}, 2);
  const Operand position_table = Operand::random({30, 37}, 3);
  const Operand whole = Operand::poisoned({3, 20, 37});
  embedding_forward(whole, tokens_BT, token_table, {}, 0, {}, 3.0F, {}, test_stream());
  for (const auto& cuts : kCuts) {
    reference::Array sum = reference::zeros(whole.tensor().num_elements());
    for (std::size_t r = 0; r + 1 < cuts.size(); ++r) {
      SCOPED_TRACE(testing::Message() << "tokens " << cuts[r] << " to " << cuts[r + 1]);
      const Tensor own = token_table.tensor().slice(0, cuts[r], cuts[r + 1]);
      const Operand x = Operand::poisoned({3, 20, 37});
      embedding_forward(x, tokens_BT, own, {}, 0, {}, 3.0F, {}, test_stream(), {cuts[r], 11});
      const reference::Array part = x.doubles();
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];

      reference::Array own_rows = token_table.doubles();  // 0 where they are another part's
      for (std::int64_t i = 0; i < std::ssize(own_rows); ++i) {
        if (i / 37 < cuts[r] || i / 37 >= cuts[r + 1]) reference::at(own_rows, i) = 0.0;
      }
      reference::Tokens positions;
      for (std::int32_t n = 0; n < 60; ++n) positions.push_back(n % 20 + 7);
      const Dropout dropout{.probability = 0.3F, .key = 9, .offset = 400};
      embedding_forward(x, tokens_BT, own, position_table, 7, {}, 3.0F, dropout, test_stream(),
                        {cuts[r], 11});
      x.expect_near(
          reference::embedding(tokens, own_rows, position_table.doubles(), positions, 3.0, dropout, 37), 1e-6,
          "x with positions");
    }
    whole.expect_near(sum, 0.0, "sum of parts");
  }
}

TEST(Embedding, PartsOfTheVocabularyGetTheirGradients) {
  const Operand tokens_BT = Operand::of(random_tokens(60, 11, 1), {3, 20});
  const Operand dx = Operand::random({3, 20, 37}, 2);
  const Dropout dropout{.probability = 0.3F, .key = 9, .offset = 400};
  const Operand dtokens = Operand::random({11, 37}, 3), dpositions = Operand::random({20, 37}, 4);
  embedding_backward(dtokens, dpositions, dx, tokens_BT, {}, 3.0F, dropout, test_stream());
  for (const auto& cuts : kCuts) {
    const Operand of_parts = Operand::random({11, 37}, 3);
    for (std::size_t r = 0; r + 1 < cuts.size(); ++r) {
      const Operand own_dpositions = Operand::random({20, 37}, 4);
      embedding_backward(of_parts.tensor().slice(0, cuts[r], cuts[r + 1]), own_dpositions, dx, tokens_BT, {},
                         3.0F, dropout, test_stream(), {cuts[r], 11});
      own_dpositions.expect_near(dpositions.doubles(), 0.0, "dposition_table");
    }
    of_parts.expect_near(dtokens.doubles(), 0.0, "dtoken_table");
  }
}

TEST(Embedding, NoRows) {
  const Operand tokens_BT = Operand::of(reference::Tokens{}, {0, 5});
  const Operand table = Operand::random({7, 12}, 1), positions = Operand::random({5, 12}, 2);
  const reference::Array before = table.doubles(), positions_before = positions.doubles();
  const Operand x = Operand::poisoned({0, 5, 12});
  embedding_forward(x, tokens_BT, table, positions, 0, {}, 1.0F, {}, test_stream());
  embedding_backward(table, positions, x, tokens_BT, {}, 1.0F, {}, test_stream());
  table.expect_near(before, 0.0, "dtoken_table");
  positions.expect_near(positions_before, 0.0, "dposition_table");
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
  EXPECT_DEATH(embedding_forward(x, as_tensor(tokens, {1, 3}), table.tensor().slice(0, 0, 2), {}, 0, {}, 1.0F,
                                 {}, {}, {2, 3}),
               "tokens \\[2, 4\\) of a vocabulary of 3");
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
