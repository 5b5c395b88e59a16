// Documents packed into rows against the same documents one by one.

#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/elementwise.h"
#include "parallel/gradient_reducer.h"
#include "parallel/self_communicator.h"
#include "trainer/model/transformer.h"

namespace trireme {
namespace {

constexpr std::int64_t kLength = 21;
constexpr std::int64_t kVocabulary = 19;

// Lengths of the documents of each row.
const std::vector<std::vector<std::int64_t>> kRows = {{7, 1, 13}, {21}, {2, 3, 5, 11}};

struct Variant {
  const char* name;
  Positions positions;
  std::int64_t window = 0;
  RopeScaling scaling = RopeScaling::kNone;
};

const Variant kVariants[] = {
    {"learned", Positions::kLearned},    {"sinusoidal", Positions::kSinusoidal},
    {"rope", Positions::kRope},          {"yarn", Positions::kRope, 0, RopeScaling::kYarn},
    {"alibi", Positions::kAlibi},        {"none", Positions::kNone},
    {"rope_window", Positions::kRope, 4}};

class Packed : public testing::TestWithParam<Variant> {
 protected:
  Packed()
      : model_({.layers = 2,
                .width = 24,
                .heads = 3,
                .kv_heads = 1,
                .head_width = 8,
                .feed_forward = 40,
                .context = kLength,
                .vocabulary = kVocabulary,
                .positions = GetParam().positions,
                .rope_scaling = GetParam().scaling,
                .rope_factor = GetParam().scaling == RopeScaling::kNone ? 1.0 : 4.0,
                .rope_original_context = 9,
                .window = GetParam().window,
                .init_stddev = 0.2F}) {
    model_.parameters().initialize(5);
    model_.allocate({.batch = std::ssize(kRows), .sequence = kLength, .training = true});
    for (std::size_t row = 0; row < kRows.size(); ++row) {
      for (std::size_t document = 0; document < kRows[row].size(); ++document) {
        for (std::int64_t t = 0; t < kRows[row][document]; ++t) {
          documents_.push_back(static_cast<std::int32_t>(document));
          positions_.push_back(static_cast<std::int32_t>(t));
        }
      }
    }
    for (std::size_t i = 0; i < documents_.size(); ++i) {
      inputs_.push_back(static_cast<std::int32_t>(i * i * 7 % kVocabulary));
      targets_.push_back(static_cast<std::int32_t>((i * 5 + 3) % kVocabulary));
    }
  }

  struct Result {
    double loss = 0.0;
    std::vector<float> gradients;
  };

  Result packed() {
    const Shape shape = {std::ssize(kRows), kLength};
    return run([&](float& loss) {
      add(loss, 0, shape,
          {.batch = shape[0],
           .sequence = kLength,
           .documents_BT = {documents_.data(), DType::kInt32, shape},
           .positions_BT = {positions_.data(), DType::kInt32, shape}});
    });
  }
  Result one_by_one() {
    return run([&](float& loss) {
      std::int64_t first = 0;
      for (const auto& row : kRows) {
        for (const std::int64_t length : row) {
          add(loss, first, {1, length}, {.batch = 1, .sequence = length});
          first += length;
        }
      }
    });
  }

  template <typename Passes>
  Result run(Passes passes) {
    fill(model_.parameters().gradients(), 0.0F, Stream());
    float loss = 0.0F;
    passes(loss);
    const Tensor all = model_.parameters().gradients();
    return {.loss = loss, .gradients = {all.data<float>(), all.data<float>() + all.num_elements()}};
  }
  // The tokens of `shape` from the `first` on.
  void add(float& loss, std::int64_t first, const Shape& shape, const Pass& pass) {
    reducer_.begin(false);
    model_.forward_backward({&loss, DType::kFloat32, {1}}, {inputs_.data() + first, DType::kInt32, shape},
                            {targets_.data() + first, DType::kInt32, shape}, 1.0F, reducer_, pass);
  }

  Transformer model_;
  SelfCommunicator communicator_;
  GradientReducer reducer_{model_.parameters(), communicator_, 4096};
  std::vector<std::int32_t> inputs_, targets_, documents_, positions_;
};

TEST_P(Packed, EqualsTheDocumentsOneByOne) {
  const Result expected = one_by_one();
  const Result actual = packed();
  EXPECT_NEAR(actual.loss, expected.loss, 1e-5 * expected.loss);
  double norm = 0.0, difference = 0.0;
  for (std::size_t i = 0; i < expected.gradients.size(); ++i) {
    norm += std::pow(expected.gradients[i], 2);
    difference += std::pow(actual.gradients[i] - expected.gradients[i], 2);
  }
  EXPECT_LT(std::sqrt(difference / norm), 1e-5);
}

// Else the test above would pass with a model that sees no document.
TEST_P(Packed, DiffersFromARowThatIsOneText) {
  const Result apart = packed();
  std::fill(documents_.begin(), documents_.end(), 0);
  EXPECT_GT(std::abs(packed().loss - apart.loss), 1e-3);
}

INSTANTIATE_TEST_SUITE_P(, Packed, testing::ValuesIn(kVariants),
                         [](const auto& variant) { return std::string(variant.param.name); });

}  // namespace
}  // namespace trireme
