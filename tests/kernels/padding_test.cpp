#include "kernels/padding.h"

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"

namespace trireme {
namespace {

using reference::Tokens;

TEST(Padding, MarksWhatIsBehindEachLength) {
  const Operand marks = Operand::of(Tokens(12, 7), {3, 4});
  const Operand lengths = Operand::of(Tokens{1, 4, 3}, {3});
  mark_padding(marks, lengths, /*padding=*/1, test_stream());
  EXPECT_EQ(marks.tokens(), (Tokens{0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1}));
  mark_padding(marks, lengths, /*padding=*/-1, test_stream());
  EXPECT_EQ(marks.tokens(), (Tokens{0, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, -1}));
  marks.expect_guards("marks");
}

// More than a block of a device.
TEST(Padding, OfLongRows) {
  const std::int64_t rows = 37, sequence = 211;
  Tokens lengths, expected;
  for (std::int32_t b = 0; b < rows; ++b) {
    lengths.push_back(b * 5 % 200 + 1);
    for (std::int32_t s = 0; s < sequence; ++s) expected.push_back(s < lengths.back() ? 0 : 1);
  }
  const Operand marks = Operand::of(Tokens(static_cast<std::size_t>(rows * sequence), 9), {rows, sequence});
  mark_padding(marks, Operand::of(lengths, {rows}), /*padding=*/1, test_stream());
  EXPECT_EQ(marks.tokens(), expected);
}

TEST(PaddingDeathTest, ALengthForEachRow) {
  const Operand marks = Operand::of(Tokens(4, 0), {2, 2});
  EXPECT_DEATH(mark_padding(marks, Operand::of(Tokens{1}, {1}), 1, test_stream()),
               "lengths is \\[1\\], \\[2\\] expected");
}

}  // namespace
}  // namespace trireme
