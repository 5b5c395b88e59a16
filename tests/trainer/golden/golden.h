// What PyTorch made of a model, as the generators beside this file wrote it.
#pragma once

#include <cmath>
#include <fstream>
#include <functional>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "parallel/parameter_buffer.h"

namespace trireme {

inline nlohmann::json golden_of(const std::string& file_name, const std::string& model) {
  std::ifstream file(TRIREME_GOLDEN_DIR "/" + file_name);
  return nlohmann::json::parse(file).at(model);
}

inline void expect_near_relative(double actual, double expected, double tolerance, const std::string& what) {
  EXPECT_LE(std::abs(actual - expected), tolerance * std::abs(expected))
      << what << ": " << actual << " against " << expected;
}

inline void expect_golden_step(const nlohmann::json& golden, std::int64_t step, double loss, double norm) {
  const auto i = static_cast<std::size_t>(step);
  const std::string name = "step " + std::to_string(step);
  expect_near_relative(loss, golden["losses"][i], 1e-5, name + ", loss");
  // The norm, a difference of large sums, is held to a little less.
  expect_near_relative(norm, golden["gradient_norms"][i], 1e-4, name + ", norm");
}

// `skips` tells of elements that get no gradient but rounding noise, which Adam makes steps of (see the
// generators).
inline void expect_golden_sums(const nlohmann::json& golden, const ParameterBuffer& parameters,
                               const std::function<bool(const Parameter&, std::int64_t)>& skips) {
  EXPECT_EQ(golden["sums_of_magnitudes"].size(), parameters.parameters().size());
  for (const Parameter& parameter : parameters.parameters()) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < parameter.value.num_elements(); ++i) {
      if (!skips(parameter, i)) sum += std::abs(parameter.value.data<float>()[i]);
    }
    expect_near_relative(sum, golden["sums_of_magnitudes"].at(parameter.name), 1e-3, parameter.name);
  }
}

}  // namespace trireme
