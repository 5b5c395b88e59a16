#include "parallel/parameter_buffer.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

TEST(ParameterBuffer, PassesComputeWithTheValuesThemselvesOrTheirRounding) {
  for (const DType dtype : {DType::kFloat32, DType::kBfloat16}) {
    ParameterBuffer parameters;
    const Parameter& first = parameters.add("first", Shape{3}, Initializer::normal(1.0F), false);
    const Parameter& second = parameters.add("second", Shape{5, 7}, Initializer::normal(1.0F), true);
    parameters.allocate(ParameterMemory::kValuesAndGradients, {}, dtype);
    parameters.initialize(1);
    parameters.round_values({0, parameters.num_elements()}, {});
    for (const Parameter* const parameter : {&first, &second}) {
      ASSERT_EQ(parameter->operand.dtype(), dtype);
      ASSERT_EQ(parameter->operand.shape(), parameter->shape);
      const float* const values = parameter->value.data<float>();
      if (dtype == DType::kFloat32) {
        EXPECT_EQ(parameter->operand.raw_data(), values);
        continue;
      }
      for (std::int64_t i = 0; i < parameter->shape.num_elements(); ++i)
        EXPECT_EQ(parameter->operand.data<Bfloat16>()[i].bits, Bfloat16(values[i]).bits) << i;
    }
  }
}

}  // namespace
}  // namespace trireme
