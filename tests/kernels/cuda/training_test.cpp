// A few steps as the trainer does them: one stream sends inputs, one computes, one fetches results, and
// nobody waits but by events.
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/buffer.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"
#include "kernels/reduce.h"
#include "kernels/rng.h"
#include "kernels/stream.h"
#include "tests/kernels/operand.h"
#include "tests/reference/activation.h"
#include "tests/reference/adamw.h"
#include "tests/reference/dropout.h"
#include "tests/reference/norm.h"

namespace trireme {
namespace {

using reference::Array;
using reference::at;

constexpr std::int64_t kRows = 40;
constexpr std::int64_t kWidth = 72;
constexpr std::int64_t kElements = kRows * kWidth;
constexpr float kEpsilon = 1e-5F;
constexpr int kSteps = 4;
constexpr float kLearningRateOfSteps = 0.05F;
constexpr float kWeightDecay = 0.1F;

Dropout dropout_of_step(int step) {
  return {.probability = 0.25F, .key = static_cast<std::uint64_t>(step)};
}

// The model y = gelu(norm(residual + dropout(branch))), whose loss is half of the sum of y^2.
struct ReferenceModel {
  Array weight = Array(kWidth, 1.0), bias = Array(kWidth, 0.0);
  Array weight_m = reference::zeros(kWidth), weight_v = weight_m, bias_m = weight_m, bias_v = weight_m;

  struct Result {
    Array y;
    double sum_of_squares;  // of y
  };
  Result step(const Array& residual, const Array& branch, int step) {
    const Dropout dropout = dropout_of_step(step);
    const auto norm =
        reference::residual_norm(residual, branch, weight, bias, kEpsilon, dropout, kRows, kWidth);
    Result result{norm.y, 0.0};
    Array dnorm;
    for (double& y : result.y) {
      const double x = y;
      y = reference::activation(Activation::kGeluTanh, x);
      result.sum_of_squares += y * y;
      dnorm.push_back(y * reference::activation_derivative(Activation::kGeluTanh, x));
    }
    const auto gradients = reference::residual_norm_backward(
        reference::zeros(kElements), dnorm, norm.sum, norm.mean, norm.rstd, weight, dropout, kRows, kWidth);
    const reference::AdamWUpdate update{
        .learning_rate = kLearningRateOfSteps, .weight_decay = kWeightDecay, .step = step + 1};
    reference::adamw_step(weight, weight_m, weight_v, gradients.dweight, update);
    reference::adamw_step(bias, bias_m, bias_v, gradients.dbias, update);
    return result;
  }
};

// The same on a device: what a trainer has of buffers, streams and events.
class DeviceModel {
 public:
  explicit DeviceModel(DType dtype) : dtype_(dtype) {
    fill(parameters(), 0.0F, compute_);
    fill(weight(), 1.0F, compute_);
    fill(flat(moments_, 0), 0.0F, compute_);
    fill(flat(moments_, 1), 0.0F, compute_);
    small_.zero();
  }

  // Sends the inputs of a step, once their place is no longer in use.
  void send(int step, const Array& residual, const Array& branch) {
    Slot& slot = slots_[static_cast<std::size_t>(step % 2)];
    slot.sent.synchronize();
    for (std::int64_t i = 0; i < kElements; ++i) {
      put(slot.pinned_in, i, at(residual, i));
      put(slot.pinned_in, kElements + i, at(branch, i));
    }
    slot.computed.make_wait(sends_);
    copy(inputs(slot.in), inputs(slot.pinned_in), sends_);
    slot.sent.record(sends_);
  }

  void compute(int step) {
    Slot& slot = slots_[static_cast<std::size_t>(step % 2)];
    const Dropout dropout = dropout_of_step(step);
    const Tensor residual = rows(slot.in, 0), branch = rows(slot.in, 1);
    const Tensor y = rows(out_, 0), sum_of_squares = sum_of(sum_of_squares_);
    slot.sent.make_wait(compute_);
    slots_[static_cast<std::size_t>((step + 1) % 2)].fetched.make_wait(compute_);  // of the step before
    fill(gradients(), 0.0F, compute_);
    fill(sum_of_squares, 0.0F, compute_);
    // The sum takes the residual's place.
    residual_norm_forward(norm_y(), residual, mean(), rstd(), residual, branch, weight(), bias(), kEpsilon,
                          dropout, compute_);
    activation_forward(y, norm_y(), Activation::kGeluTanh, compute_);
    accumulate_sum_of_squares(sum_of_squares, y, compute_);
    activation_backward(norm_y(), y, norm_y(), Activation::kGeluTanh, compute_);
    fill(dsum(), 0.0F, compute_);
    residual_norm_backward(dsum(), branch, gradients().slice(0, 0, kWidth),
                           gradients().slice(0, kWidth, 2 * kWidth), norm_y(), residual, mean(), rstd(),
                           weight(), dropout, compute_);
    const auto small = [&](DType dtype, std::int64_t count, std::int64_t first) {
      return small_.tensor(dtype, {count}, first * size_bytes(dtype));
    };
    const Tensor factors = small(DType::kFloat32, kNumAdamWFactors, 0);
    fill(factors.slice(0, kLearningRate, kLearningRate + 1), kLearningRateOfSteps, compute_);
    begin_update(factors, small(DType::kInt32, kNumUpdateCounts, kNumAdamWFactors),
                 small(DType::kFloat32, 1, std::int64_t{kNumAdamWFactors} + kNumUpdateCounts), sum_of_squares,
                 sum_of_squares, /*max_norm=*/0.0F, {}, compute_);
    adamw_step(parameters(), {}, flat(moments_, 0), flat(moments_, 1), gradients(), factors, table_, {},
               compute_);
    slot.computed.record(compute_);
    slot.computed.make_wait(fetches_);
    copy(rows(slot.pinned_out, 0), y, fetches_);
    copy(sum_of(slot.pinned_sum_of_squares), sum_of_squares, fetches_);
    slot.fetched.record(fetches_);
  }

  ReferenceModel::Result result(int step) {
    Slot& slot = slots_[static_cast<std::size_t>(step % 2)];
    slot.fetched.synchronize();
    ReferenceModel::Result result{{}, static_cast<double>(*sum_of(slot.pinned_sum_of_squares).data<float>())};
    for (std::int64_t i = 0; i < kElements; ++i) result.y.push_back(get(slot.pinned_out, i));
    return result;
  }

 private:
  // Steps take turns with two of each.
  struct Slot {
    explicit Slot(std::int64_t matrix_bytes)
        : pinned_in(Buffer::pinned_for(test_device(), 2 * matrix_bytes)),
          pinned_out(Buffer::pinned_for(test_device(), matrix_bytes)),
          pinned_sum_of_squares(Buffer::pinned_for(test_device(), 4)),
          in(2 * matrix_bytes, test_device()) {}

    Buffer pinned_in, pinned_out, pinned_sum_of_squares, in;
    Event sent{test_device()}, computed{test_device()}, fetched{test_device()};
  };

  std::int64_t matrix_bytes() const { return kElements * size_bytes(dtype_); }
  Tensor inputs(const Buffer& buffer) const { return buffer.tensor(dtype_, {2 * kElements}); }
  Tensor rows(const Buffer& buffer, int matrix) const {
    return buffer.tensor(dtype_, {kRows, kWidth}, matrix * matrix_bytes());
  }
  static Tensor sum_of(const Buffer& buffer) { return buffer.tensor(DType::kFloat32, {1}); }
  static Tensor flat(const Buffer& buffer, int part) {
    return buffer.tensor(DType::kFloat32, {2 * kWidth}, part * 2 * kWidth * 4);
  }
  Tensor parameters() const { return flat(parameters_, 0); }
  Tensor weight() const { return parameters().slice(0, 0, kWidth); }
  Tensor bias() const { return parameters().slice(0, kWidth, 2 * kWidth); }
  Tensor gradients() const { return flat(gradients_, 0); }
  Tensor mean() const { return statistics_.tensor(DType::kFloat32, {kRows}); }
  Tensor rstd() const { return statistics_.tensor(DType::kFloat32, {kRows}, kRows * 4); }
  Tensor norm_y() const { return rows(scratch_, 0); }
  Tensor dsum() const { return rows(scratch_, 1); }

  void put(const Buffer& buffer, std::int64_t i, double value) const {
    if (dtype_ == DType::kBfloat16) {
      static_cast<Bfloat16*>(buffer.data())[i] = Bfloat16(static_cast<float>(value));
    } else {
      static_cast<float*>(buffer.data())[i] = static_cast<float>(value);
    }
  }
  double get(const Buffer& buffer, std::int64_t i) const {
    return static_cast<double>(dtype_ == DType::kBfloat16
                                   ? float(static_cast<const Bfloat16*>(buffer.data())[i])
                                   : static_cast<const float*>(buffer.data())[i]);
  }

  DType dtype_;
  std::array<Slot, 2> slots_{Slot(matrix_bytes()), Slot(matrix_bytes())};
  Buffer parameters_{2 * kWidth * 4, test_device()}, gradients_{2 * kWidth * 4, test_device()};
  Buffer moments_{4 * kWidth * 4, test_device()}, small_{32, test_device()};
  const AdamWTable table_{{{.begin = 0, .end = 2 * kWidth, .weight_decay = kWeightDecay}}, test_device()};
  Buffer out_{matrix_bytes(), test_device()}, sum_of_squares_{4, test_device()};
  Buffer statistics_{2 * kRows * 4, test_device()}, scratch_{2 * matrix_bytes(), test_device()};
  // Last, so that their ends wait while the memory lives.
  DeviceStream compute_{test_device()}, sends_{test_device()}, fetches_{test_device()};
};

class CudaTraining : public testing::TestWithParam<DType> {};

TEST_P(CudaTraining, FollowsTheReferenceOverSeveralSteps) {
  const bool narrow = GetParam() == DType::kBfloat16;
  std::vector<std::array<Array, 2>> inputs;
  for (std::uint64_t i = 0; i < 2 * kSteps; ++i) {
    if (i % 2 == 0) inputs.emplace_back();
    for (std::uint64_t j = 0; j < kElements; ++j) {
      const float number = normals(100 + i, j / 4)[j % 4];
      inputs.back()[i % 2].push_back(narrow ? float(Bfloat16(number)) : number);
    }
  }
  ReferenceModel reference;
  DeviceModel model(GetParam());
  model.send(0, inputs[0][0], inputs[0][1]);
  for (int step = 0; step <= kSteps; ++step) {
    if (step < kSteps) model.compute(step);
    // While this step computes, the next one's inputs are on their way, and the last one's results are looked
    // at.
    const auto next = static_cast<std::size_t>(step + 1);
    if (next < kSteps) model.send(step + 1, inputs[next][0], inputs[next][1]);
    if (step == 0) continue;
    const auto& [residual, branch] = inputs[static_cast<std::size_t>(step - 1)];
    const auto expected = reference.step(residual, branch, step - 1);
    const auto actual = model.result(step - 1);
    const double tolerance = narrow ? 0.02 : 1e-5;
    EXPECT_NEAR(actual.sum_of_squares, expected.sum_of_squares, tolerance * expected.sum_of_squares);
    for (std::size_t i = 0; i < expected.y.size(); ++i) {
      ASSERT_NEAR(actual.y[i], expected.y[i], tolerance * (1.0 + std::abs(expected.y[i])))
          << step << ": " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaTraining, testing::Values(DType::kFloat32, DType::kBfloat16),
                         [](const auto& type) { return std::string(name(type.param)); });

}  // namespace
}  // namespace trireme
