#include "kernels/random.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/rng.h"
#include "tests/kernels/operand.h"

namespace trireme {
namespace {

// The numbers of kernels/rng.h, wherever the tensor begins among them.  Logarithms and sines in double may
// differ in their last bit between devices, which rarely changes how they are rounded.
TEST(FillNormal, DrawsByIndex) {
  for (const std::int64_t first : {0, 1, 2, 3, 4, 1001}) {
    const std::int64_t n = 5003;
    const Operand x = Operand::poisoned({n});
    fill_normal(x, 0.5F, /*key=*/9, first, test_stream());
    x.expect_guards("x");
    const std::vector<float> drawn = x.floats();
    std::int64_t other = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t index = first + i;
      const float expected =
          0.5F * normals(9, static_cast<std::uint64_t>(index / 4))[static_cast<std::size_t>(index % 4)];
      const float found = drawn[static_cast<std::size_t>(i)];
      ASSERT_NEAR(found, expected, 1e-7F * (1.0F + std::abs(expected))) << i;
      other += found != expected;
    }
    EXPECT_LE(other, n / 1000);
  }
}

}  // namespace
}  // namespace trireme
