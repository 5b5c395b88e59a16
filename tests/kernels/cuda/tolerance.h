// How near results of a CUDA device are to be: as near as their type allows.
#pragma once

#include <cmath>

#include <gtest/gtest.h>

#include "tests/kernels/operand.h"

namespace trireme {

inline double rounded(double x, DType dtype) {
  const auto number = static_cast<float>(x);
  return dtype == DType::kBfloat16 ? static_cast<float>(Bfloat16(number)) : number;
}
inline reference::Array rounded(reference::Array x, DType dtype) {
  for (double& number : x) number = rounded(number, dtype);
  return x;
}

// The largest error of any element, relative to elements above 1.
inline double largest_error(const reference::Array& x, const reference::Array& exact) {
  double largest = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double error = std::abs(x[i] - exact[i]) / (1.0 + std::abs(exact[i]));
    largest = error <= largest ? largest : error;  // NaN, too
  }
  return largest;
}

// EXPECTs errors that are at most twice those of `plain`, exact arithmetic whose results are rounded to their
// type, give or take what fp32 may be off.
inline void expect_as_good_as(const Operand& x, const reference::Array& plain, const reference::Array& exact,
                              const char* what) {
  x.expect_guards(what);
  EXPECT_LE(largest_error(x.doubles(), exact), 2.0 * largest_error(plain, exact) + 1e-5) << what;
}

}  // namespace trireme
