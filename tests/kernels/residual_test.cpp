#include "kernels/residual.h"

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"
#include "tests/reference/dropout.h"

namespace trireme {
namespace {

TEST(Residual, AddsWhatThereIs) {
  struct Case {
    std::int64_t n, c;
    bool has_branch, has_row;
    float dropout;
  };
  for (const Case& c :
       {Case{1, 1, true, true, 0.0F}, Case{37, 130, true, true, 0.4F}, Case{9, 33, true, false, 0.4F},
        Case{20, 64, false, true, 0.0F}, Case{5, 64, true, true, 0.4F}, Case{3, 5, false, false, 0.0F}}) {
    const Operand residual = Operand::random({c.n, c.c}, 1);
    const Operand branch = Operand::random({c.n, c.c}, 2);
    const Operand row = Operand::random({c.c}, 3);
    const Dropout dropout{.probability = c.dropout, .key = 9, .offset = 400};
    const reference::Array dropped = reference::dropout(branch.doubles(), dropout);
    reference::Array expected = residual.doubles();
    for (std::int64_t i = 0; i < c.n * c.c; ++i) {
      if (c.has_branch) reference::at(expected, i) += reference::at(dropped, i);
      if (c.has_row) reference::at(expected, i) += reference::at(row.doubles(), i % c.c);
    }
    const Operand sum = Operand::poisoned({c.n, c.c});
    const Tensor branch_if_any = c.has_branch ? branch.tensor() : Tensor();
    const Tensor row_if_any = c.has_row ? row.tensor() : Tensor();
    add_residual(sum, residual, branch_if_any, row_if_any, dropout, test_stream());
    sum.expect_near(expected, 1e-6, "sum");
    add_residual(residual, residual, branch_if_any, row_if_any, dropout, test_stream());
    residual.expect_near(expected, 1e-6, "sum in place");
  }
}

TEST(Residual, NoRows) {
  const Operand rows = Operand::poisoned({0, 12}), row = Operand::random({12}, 1);
  add_residual(rows, rows, rows, row, {.probability = 0.5F}, test_stream());
  rows.expect_guards("rows");
}

}  // namespace
}  // namespace trireme
