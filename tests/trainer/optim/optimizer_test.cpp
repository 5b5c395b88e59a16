// AdamW over parameters that decay and some that don't; clipping by the global norm.

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/parameter_buffer.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/grad_clip.h"

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
  ParameterBuffer parameters_;
};

TEST_F(OptimizerTest, UpdatesAsTheFormulaSays) {
  const OptimConfig config{.beta1 = 0.8, .beta2 = 0.9, .epsilon = 1e-6, .weight_decay = 0.3};
  AdamW optimizer(parameters_, config);
  GradientClip clip(1.5);
  const double norm = clip.measure(parameters_.gradients(), Stream());
  const double scale = 1.5 / norm;
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
    optimizer.step(clip.scale(), 0.01, step, Stream());
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
  GradientClip clip(0.0);
  clip.measure(parameters_.gradients(), Stream());
  for (std::int64_t step = 1; step <= 3; ++step) optimizer.step(clip.scale(), 0.1, step, Stream());
  const Parameter& first = parameters_.parameters().front();
  for (std::int64_t i = first.shape.num_elements(); i < 16; ++i) {
    EXPECT_EQ(parameters_.values().data<float>()[i], 0.0F);
  }
}

TEST_F(OptimizerTest, NormIsGlobalAndClipsOnlyAbove) {
  double sum = 0.0;
  for (const Parameter& parameter : parameters_.parameters()) {
    for (std::int64_t i = 0; i < parameter.shape.num_elements(); ++i) {
      sum += std::pow(parameter.gradient.data<float>()[i], 2);
    }
  }
  GradientClip loose(1e6);
  EXPECT_NEAR(loose.measure(parameters_.gradients(), Stream()), std::sqrt(sum), 1e-5);
  EXPECT_EQ(*loose.scale().data<float>(), 1.0F);
  GradientClip none(0.0);
  none.measure(parameters_.gradients(), Stream());
  EXPECT_EQ(*none.scale().data<float>(), 1.0F);
}

TEST_F(OptimizerTest, NonFiniteGradientsShowInTheNorm) {
  GradientClip clip(1.0);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    parameters_.parameters()[2].gradient.data<float>()[1] = bad;
    EXPECT_FALSE(std::isfinite(clip.measure(parameters_.gradients(), Stream())));
  }
}

}  // namespace
}  // namespace trireme
