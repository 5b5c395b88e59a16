#include "parallel/parameter_part.h"

#include <vector>

#include <gtest/gtest.h>

#include "parallel/parameter_buffer.h"

namespace trireme {
namespace {

std::vector<Piece> pieces_of(const ParameterPart& part) {
  std::vector<Piece> pieces;
  for_each_piece(part, [&](const Piece& piece) { pieces.push_back(piece); });
  return pieces;
}

TEST(ParameterPart, HasAPieceForEachRangeOfWholeRows) {
  const auto part = ParameterPart::rows_of({10, 3}, {{1, 3}, {7, 8}});
  EXPECT_EQ(part.shape(), Shape({3, 3}));
  EXPECT_EQ(pieces_of(part), (std::vector<Piece>{{3, 0, 6}, {21, 6, 3}}));
}

TEST(ParameterPart, HasAPieceForEachRowOfColumns) {
  const auto part = ParameterPart::columns_of({3, 5}, {1, 4});
  EXPECT_EQ(part.shape(), Shape({3, 3}));
  EXPECT_EQ(pieces_of(part), (std::vector<Piece>{{1, 0, 3}, {6, 3, 3}, {11, 6, 3}}));
}

TEST(ParameterPart, OfAVectorIsAVector) {
  const auto part = ParameterPart::rows_of({7}, {{2, 2}, {4, 7}});
  EXPECT_EQ(part.shape(), Shape({3}));
  EXPECT_EQ(pieces_of(part), (std::vector<Piece>{{4, 0, 3}}));
  EXPECT_TRUE(ParameterPart::all_of({7}).is_whole());
  EXPECT_FALSE(part.is_whole());
}

TEST(ParameterBuffer, DrawsAPartAsItIsInTheWhole) {
  ParameterBuffer whole;
  const Parameter& all = whole.add("w", Shape{6, 5}, Initializer::normal(1.0F), true);
  whole.allocate();
  whole.initialize(3);
  for (const ParameterPart& part :
       {ParameterPart::rows_of({6, 5}, {{0, 1}, {3, 6}}), ParameterPart::columns_of({6, 5}, {2, 5})}) {
    ParameterBuffer own;
    const Parameter& parameter = own.add("w", part, Initializer::normal(1.0F), true);
    own.allocate();
    own.initialize(3);
    for_each_piece(part, [&](const Piece& piece) {
      for (std::int64_t i = 0; i < piece.size; ++i)
        EXPECT_EQ(parameter.value.data<float>()[piece.own + i], all.value.data<float>()[piece.whole + i]);
    });
  }
}

}  // namespace
}  // namespace trireme
