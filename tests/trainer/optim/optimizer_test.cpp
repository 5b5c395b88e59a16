// AdamW over parameters that decay and some that don't; clipping by the global norm.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/adamw.h"
#include "parallel/parameter_buffer.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/grad_norm.h"

namespace trireme {
namespace {

class OptimizerTest : public ::testing::Test {
 protected:
  OptimizerTest() {
    // Decaying and other parameters alternate, with alignment gaps between.
    for (int i = 0; i < 5; ++i) {
      parameters_.add("p" + std::to_string(i), {3 + i}, Initializer::normal(1.0F),
                      /*weight_decay=*/i % 2 == 0);
    }
    parameters_.allocate();
    parameters_.initialize(1);
    for (const Parameter& parameter : parameters_.parameters()) {
      for (std::int64_t i = 0; i < parameter.shape.num_elements(); ++i) {
        parameter.gradient.data<float>()[i] = 0.25F * static_cast<float>(i + 1 + parameter.index);
      }
    }
  }

  double norm() {
    return std::sqrt(static_cast<double>(*norm_.squared(parameters_.gradients(), {}).data<float>()));
  }
  void step(AdamW& optimizer, double learning_rate) {
    const Tensor gradients = parameters_.gradients();
    optimizer.set_learning_rate(learning_rate, {});
    optimizer.step(gradients, norm_.squared(gradients, {}), {&loss_, DType::kFloat32, {1}}, {});
  }
  static std::vector<float> numbers(Tensor flat) {
    return {flat.data<float>(), flat.data<float>() + flat.num_elements()};
  }

  ParameterBuffer parameters_;
  GradientNorm norm_{{{0, 80}}, {}};  // each parameter takes 16
  float loss_ = 1.0F;
};

TEST_F(OptimizerTest, UpdatesAsTheFormulaSays) {
  const OptimConfig config{
      .beta1 = 0.8, .beta2 = 0.9, .epsilon = 1e-6, .weight_decay = 0.3, .grad_clip = 1.5};
  AdamW optimizer(parameters_, config);
  const double scale = 1.5 / norm();
  ASSERT_LT(scale, 1.0);

  struct State {
    double param, m, v, grad;
    bool decay;
  };
  std::vector<State> expected;
  for (const Parameter& parameter : parameters_.parameters()) {
    for (std::int64_t i = 0; i < parameter.shape.num_elements(); ++i) {
      expected.push_back({parameter.value.data<float>()[i], 0, 0, parameter.gradient.data<float>()[i] * scale,
                          parameter.weight_decay});
    }
  }
  for (std::int64_t step = 1; step <= 3; ++step) {
    this->step(optimizer, 0.01);
    for (State& s : expected) {
      s.m = 0.8 * s.m + 0.2 * s.grad;
      s.v = 0.9 * s.v + 0.1 * s.grad * s.grad;
      const double m_hat = s.m / (1 - std::pow(0.8, static_cast<double>(step)));
      const double v_hat = s.v / (1 - std::pow(0.9, static_cast<double>(step)));
      s.param -= 0.01 * (m_hat / (std::sqrt(v_hat) + 1e-6) + (s.decay ? 0.3 : 0.0) * s.param);
    }
    std::size_t n = 0;
    for (const Parameter& parameter : parameters_.parameters()) {
      for (std::int64_t i = 0; i < parameter.shape.num_elements(); ++i, ++n) {
        EXPECT_NEAR(parameter.value.data<float>()[i], expected[n].param, 1e-6)
            << parameter.name << " step " << step;
      }
    }
  }
}

TEST_F(OptimizerTest, GapsStayZero) {
  AdamW optimizer(parameters_, OptimConfig{});
  for (int i = 0; i < 3; ++i) step(optimizer, 0.1);
  const Parameter& first = parameters_.parameters().front();
  for (std::int64_t i = first.shape.num_elements(); i < 16; ++i) {
    EXPECT_EQ(parameters_.values().data<float>()[i], 0.0F);
  }
}

// Parts that begin and end within parameters.
TEST_F(OptimizerTest, ChangesWhatItOwnsAlone) {
  const std::vector<FlatRange> owned = {{1, 17}, {19, 33}, {50, 66}};
  AdamW whole(parameters_, OptimConfig{}), shard(parameters_, OptimConfig{}, owned);
  const Tensor values = parameters_.values();
  const std::vector<float> before = numbers(values);
  step(whole, 0.1);
  const std::vector<float> after = numbers(values), m = numbers(whole.first_moment()),
                           v = numbers(whole.second_moment());
  std::copy(before.begin(), before.end(), values.data<float>());
  step(shard, 0.1);
  EXPECT_NE(after, before);
  for (std::int64_t i = 0; i < values.num_elements(); ++i) {
    const bool is_own = std::any_of(owned.begin(), owned.end(), [&](const FlatRange& range) {
      return range.begin <= i && i < range.end;
    });
    const auto at = static_cast<std::size_t>(i);
    EXPECT_EQ(numbers(values)[at], is_own ? after[at] : before[at]) << i;
    EXPECT_EQ(numbers(shard.first_moment())[at], is_own ? m[at] : 0.0F) << i;
    EXPECT_EQ(numbers(shard.second_moment())[at], is_own ? v[at] : 0.0F) << i;
  }
}

TEST_F(OptimizerTest, NormIsGlobal) {
  double sum = 0.0;
  for (const Parameter& parameter : parameters_.parameters()) {
    for (std::int64_t i = 0; i < parameter.shape.num_elements(); ++i) {
      sum += std::pow(parameter.gradient.data<float>()[i], 2);
    }
  }
  EXPECT_NEAR(norm(), std::sqrt(sum), 1e-5);
}

TEST_F(OptimizerTest, SkipsStepsThatAreNotFiniteAndGoesOn) {
  AdamW optimizer(parameters_, OptimConfig{});
  optimizer.resume(/*updates=*/4, /*skipped=*/1, {});
  const std::vector<float> before = numbers(parameters_.values());
  float& gradient = parameters_.parameters()[2].gradient.data<float>()[1];
  const float good = gradient;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    gradient = bad;
    step(optimizer, 0.1);
    EXPECT_FALSE(std::isfinite(*optimizer.gradient_norm().data<float>()));
    EXPECT_EQ(numbers(parameters_.values()), before);
  }
  gradient = good;
  step(optimizer, 0.1);
  EXPECT_NE(numbers(parameters_.values()), before);
  const auto* const counts = optimizer.counts().data<std::int32_t>();
  EXPECT_EQ(std::vector(counts, counts + kNumUpdateCounts), (std::vector<std::int32_t>{5, 3, 6}));
}

}  // namespace
}  // namespace trireme
