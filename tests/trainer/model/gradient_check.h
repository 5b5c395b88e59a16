// Gradients against finite differences.
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/random.h"
#include "kernels/rng.h"
#include "kernels/tensor.h"
#include "parallel/parameter_buffer.h"

namespace trireme {

// Values of a random tensor, the same at each call.
inline void fill_normal(Tensor x, const std::string& name, float stddev = 1.0F) {
  fill_normal(x, stddev, key_of(7, name), 0, Stream());
}

// Compares <gradient, d> with (loss(x + h d) - loss(x - h d)) / 2h for several random directions d of unit
// norm. `loss` reads x and runs in float, so it should be a sum of moderate terms.
inline void expect_gradient(Tensor x, Tensor gradient, const std::function<double()>& loss,
                            const std::string& name, double tolerance = 1e-2) {
  constexpr double kStep = 1e-2;
  const std::int64_t size = x.num_elements();
  float* values = x.data<float>();
  const float* slopes = gradient.data<float>();
  const std::vector<float> original(values, values + size);
  double slope_norm = 0.0;
  for (std::int64_t i = 0; i < size; ++i) slope_norm += static_cast<double>(slopes[i]) * slopes[i];
  slope_norm = std::sqrt(slope_norm);
  ASSERT_GT(slope_norm, 0.0) << name << ": the gradient is zero, so nothing is checked";

  for (int trial = 0; trial < 3; ++trial) {
    // The gradient's own direction, with noise: a random one alone would be nearly orthogonal to it.
    std::vector<float> noise(static_cast<std::size_t>(size));
    fill_normal({noise.data(), DType::kFloat32, {size}}, name + std::to_string(trial));
    std::vector<double> direction(static_cast<std::size_t>(size));
    double norm = 0.0;
    for (std::int64_t i = 0; i < size; ++i) {
      auto& d = direction[static_cast<std::size_t>(i)];
      d = slopes[i] / slope_norm + noise[static_cast<std::size_t>(i)] / std::sqrt(static_cast<double>(size));
      norm += d * d;
    }
    norm = std::sqrt(norm);
    double expected = 0.0;
    for (std::int64_t i = 0; i < size; ++i) {
      direction[static_cast<std::size_t>(i)] /= norm;
      expected += direction[static_cast<std::size_t>(i)] * slopes[i];
    }
    const auto loss_at = [&](double h) {
      for (std::int64_t i = 0; i < size; ++i) {
        const auto n = static_cast<std::size_t>(i);
        values[i] = static_cast<float>(original[n] + h * direction[n]);
      }
      return loss();
    };
    const double measured = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
    std::copy(original.begin(), original.end(), values);
    EXPECT_NEAR(measured, expected, tolerance * slope_norm) << name << ", trial " << trial;
  }
}

}  // namespace trireme
