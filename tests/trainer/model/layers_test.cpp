// Every layer's backward pass against finite differences of its forward pass.

#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/elementwise.h"
#include "parallel/gradient_reducer.h"
#include "parallel/self_communicator.h"
#include "tests/trainer/model/gradient_check.h"
#include "trainer/model/attention.h"
#include "trainer/model/block.h"
#include "trainer/model/embedding.h"
#include "trainer/model/loss.h"
#include "trainer/model/mlp.h"
#include "trainer/model/norm.h"
#include "trainer/model/output_transform.h"

namespace trireme {
namespace {

constexpr std::int64_t kBatch = 2;
constexpr std::int64_t kSequence = 8;
constexpr std::int64_t kWidth = 12;
constexpr std::int64_t kRows = kBatch * kSequence;

TransformerOptions options() {
  return {.layers = 1,
          .width = kWidth,
          .heads = 3,
          .kv_heads = 3,
          .head_width = 4,
          .feed_forward = 20,
          .context = kSequence,
          .vocabulary = 5,  // fewer than tokens: rows must add up
          .init_stddev = 1.0F};
}

// A layer under test: its parameters, tensors of its own, and loss = <y, weights of y>.
class LayerTest : public ::testing::TestWithParam<float> {
 protected:
  LayerTest() {
    pass_.batch = kBatch;
    pass_.sequence = kSequence;
    pass_.dropout = {.probability = GetParam(),
                     .attention_probability = GetParam(),
                     .seed = 3,
                     .step = 5,
                     .first_sequence = 4};
  }

  Tensor tensor(Shape shape, DType dtype = DType::kFloat32) {
    memory_.emplace_back(shape.num_elements() * size_bytes(dtype));
    memory_.back().zero();
    return memory_.back().tensor(dtype, shape);
  }
  Tensor random(Shape shape, const std::string& name, float stddev = 1.0F) {
    const Tensor x = tensor(shape);
    fill_normal(x, name, stddev);
    return x;
  }

  // Integers below `end`.
  Tensor numbers(Shape shape, std::int64_t factor, std::int64_t end) {
    const Tensor x = tensor(shape, DType::kInt32);
    for (std::int64_t i = 0; i < shape.num_elements(); ++i)
      x.data<std::int32_t>()[i] = static_cast<std::int32_t>(i * factor % end);
    return x;
  }

  // After the layer is made: allocates and perturbs every parameter (zero biases would hide mistakes).
  void initialize() {
    parameters_.allocate();
    for (const Parameter& parameter : parameters_.parameters()) {
      fill_normal(parameter.value, parameter.name, 0.3F);
    }
    reducer_ = std::make_unique<GradientReducer>(parameters_, communicator_, 256);
    arena_ = std::make_unique<Arena>(std::int64_t{1} << 20);
  }

  // `forward` computes y from x; `backward` the gradients from dy.
  void check(Tensor x, Tensor dx, Tensor y, Tensor dy, const std::function<void()>& forward,
             const std::function<void()>& backward) {
    fill_normal(dy, "dy");
    const std::vector<float> weights(dy.data<float>(), dy.data<float>() + dy.num_elements());
    const auto loss = [&] {
      forward();
      double sum = 0.0;
      for (std::int64_t i = 0; i < y.num_elements(); ++i) {
        sum += static_cast<double>(y.data<float>()[i]) * weights[static_cast<std::size_t>(i)];
      }
      return sum;
    };
    loss();
    reducer_->begin(/*is_last_microbatch=*/true);
    backward();
    reducer_->finish(pass_.stream);  // every parameter was marked
    if (x) expect_gradient(x, dx, loss, "x");
    for (const Parameter& parameter : parameters_.parameters()) {
      expect_gradient(parameter.value, parameter.gradient, loss, parameter.name);
    }
  }

  void check_embedding(const Embedding& layer) {
    initialize();
    const auto activations = layer.allocate(*arena_, kLimits);
    const Tensor tokens = numbers({kBatch, kSequence}, 3, options().vocabulary);
    const Tensor y = tensor({kRows, kWidth}), dy = tensor({kRows, kWidth}), dx = tensor({kRows, kWidth});
    const Tensor scratch = tensor({kRows, kWidth});
    check(
        {}, {}, y, dy, [&] { layer.forward(y, tokens, activations, scratch, pass_); },
        [&] {
          copy(dx, dy, pass_.stream);
          layer.backward(dx, tokens, activations, scratch, *reducer_, pass_);
        });
  }

  static constexpr PassLimits kLimits{.batch = kBatch, .sequence = kSequence, .training = true};
  ParameterBuffer parameters_;
  SelfCommunicator communicator_;
  std::unique_ptr<GradientReducer> reducer_;
  std::unique_ptr<Arena> arena_;
  std::vector<Buffer> memory_;
  Pass pass_;
};

TEST_P(LayerTest, Linear) {
  constexpr std::int64_t kOutputs = 7;
  const Linear layer(parameters_, "linear", kWidth, kOutputs, /*has_bias=*/true, 1.0F);
  initialize();
  const Tensor x = random({kRows, kWidth}, "x"), dx = tensor({kRows, kWidth});
  const Tensor y = tensor({kRows, kOutputs}), dy = tensor({kRows, kOutputs});
  check(
      x, dx, y, dy, [&] { layer.forward(y, x, pass_.stream); },
      [&] { layer.backward(dx, dy, x, *reducer_, pass_.stream); });
}

TEST_P(LayerTest, Mlp) {
  const Mlp layer(parameters_, "mlp", options(), 1.0F);
  initialize();
  const auto activations = layer.allocate(*arena_, kLimits);
  const auto scratch = layer.allocate_scratch(*arena_, kLimits);
  const Tensor x = random({kRows, kWidth}, "x"), dx = tensor({kRows, kWidth});
  const Tensor y = tensor({kRows, kWidth}), dy = tensor({kRows, kWidth});
  check(
      x, dx, y, dy, [&] { layer.forward(y, x, activations, pass_); },
      [&] { layer.backward(dx, dy, x, activations, scratch, *reducer_, pass_); });
}

TEST_P(LayerTest, SelfAttention) {
  const PositionTables positions(options());
  const SelfAttention layer(parameters_, "attention", 0, /*causal=*/true, options(), positions, 1.0F);
  initialize();
  const auto activations = layer.allocate(*arena_, kLimits);
  const auto scratch = layer.allocate_scratch(*arena_, kLimits);
  const Tensor x = random({kRows, kWidth}, "x"), dx = tensor({kRows, kWidth});
  const Tensor y = tensor({kRows, kWidth}), dy = tensor({kRows, kWidth});
  check(
      x, dx, y, dy, [&] { layer.forward(y, x, activations, pass_); },
      [&] { layer.backward(dx, dy, x, activations, scratch, *reducer_, pass_); });
}

TEST_P(LayerTest, ResidualNorm) {
  const ResidualNorm layer(parameters_, "norm", options());
  initialize();
  const auto activations = layer.allocate(*arena_, kLimits);
  const Tensor residual = random({kRows, kWidth}, "residual");
  const Tensor branch = random({kRows, kWidth}, "branch");
  const Tensor dresidual = tensor({kRows, kWidth}), dbranch_memory = tensor({kRows, kWidth});
  const Tensor dy = tensor({kRows, kWidth});
  const Dropout dropout = pass_.dropout.at(0, DropoutSite::kMlpBranch, kSequence * kWidth);
  Tensor dbranch;
  const auto forward = [&] {
    ResidualStream stream{.residual_NC = residual, .branch_NC = branch, .dropout = dropout};
    layer.forward(stream, activations, pass_);
  };
  const auto backward = [&] {
    ResidualGradient gradient{.dresidual_NC = dresidual, .dbranch_NC = {}};
    layer.backward(gradient, dbranch_memory, dy, activations, dropout, *reducer_, pass_);
    dbranch = gradient.dbranch_NC;
  };
  check(residual, dresidual, activations.y_NC, dy, forward, backward);
  const auto loss = [&] {
    forward();
    double sum = 0.0;
    for (std::int64_t i = 0; i < dy.num_elements(); ++i) {
      sum += static_cast<double>(activations.y_NC.data<float>()[i]) * dy.data<float>()[i];
    }
    return sum;
  };
  expect_gradient(branch, dbranch, loss, "branch");
}

TEST_P(LayerTest, TransformerBlock) {
  const PositionTables positions(options());
  const TransformerBlock layer(parameters_, {.layers = 1}, 0, options(), positions, 1.0F,
                               TensorRanks::alone());
  initialize();
  const auto activations = layer.allocate(*arena_, kLimits);
  const auto scratch = layer.allocate_scratch(*arena_, kLimits);
  const Tensor x = random({kRows, kWidth}, "x"), dx = tensor({kRows, kWidth});
  const Tensor y = tensor({kRows, kWidth}), dy = tensor({kRows, kWidth});
  const Tensor dbranch = tensor({kRows, kWidth});
  const auto forward = [&] {
    copy(activations.attention_norm.sum_NC, x, pass_.stream);
    ResidualStream stream{.residual_NC = activations.attention_norm.sum_NC, .branch_NC = {}, .dropout = {}};
    layer.forward(stream, activations, scratch, pass_);
    // y = residual + dropout(branch), as the next norm would make it.
    dropout(y, stream.branch_NC, stream.dropout, pass_.stream);
    for (std::int64_t i = 0; i < y.num_elements(); ++i)
      y.data<float>()[i] += stream.residual_NC.data<float>()[i];
  };
  const auto backward = [&] {
    copy(dx, dy, pass_.stream);
    dropout(dbranch, dy, layer.mlp_dropout(pass_), pass_.stream);
    ResidualGradient gradient{.dresidual_NC = dx, .dbranch_NC = dbranch};
    layer.backward(gradient, {}, Dropout(), activations, scratch, *reducer_, pass_);
  };
  check(x, dx, y, dy, forward, backward);
}

TEST_P(LayerTest, Embedding) {
  const PositionTables positions(options());
  const Embedding layer(parameters_, options(), {.layers = 1}, positions, TensorRanks::alone());
  check_embedding(layer);
}

TEST_P(LayerTest, EmbeddingWithTypes) {
  TransformerOptions types = options();
  types.token_types = 3;
  const PositionTables positions(types);
  const Embedding layer(parameters_, types, {.layers = 1}, positions, TensorRanks::alone());
  pass_.token_types_BT = numbers({kBatch, kSequence}, 7, types.token_types);
  check_embedding(layer);
}

TEST_P(LayerTest, EmbeddingWithNorm) {
  TransformerOptions bert = options();
  bert.embedding_norm = true;
  bert.token_types = 2;
  const PositionTables positions(bert);
  const Embedding layer(parameters_, bert, {.layers = 1}, positions, TensorRanks::alone());
  pass_.token_types_BT = numbers({kBatch, kSequence}, 5, bert.token_types);
  check_embedding(layer);
}

TEST_P(LayerTest, OutputTransform) {
  const OutputTransform layer(parameters_, options());
  initialize();
  const auto activations = layer.allocate(*arena_, kLimits);
  const Tensor x = random({kRows, kWidth}, "x"), dx = tensor({kRows, kWidth});
  const Tensor dy = tensor({kRows, kWidth});
  check(
      x, dx, activations.norm.y_NC, dy, [&] { layer.forward(x, activations, pass_); },
      [&] { layer.backward(dx, dy, x, activations, *reducer_, pass_); });
}

TEST_P(LayerTest, LanguageModelLoss) {
  TransformerOptions untied = options();
  untied.tied_embeddings = false;
  untied.output_bias = true;
  untied.vocabulary = 21;
  LanguageModelLoss layer(parameters_, untied, /*token_table=*/nullptr);
  initialize();
  layer.allocate(*arena_, kLimits);
  const Tensor hidden = random({kRows, kWidth}, "hidden"), dhidden = tensor({kRows, kWidth});
  const Tensor targets = numbers({kRows}, 5, untied.vocabulary);
  const Tensor loss_1 = tensor({1});
  constexpr float kScale = 0.25F;
  const auto loss = [&] {
    *loss_1.data<float>() = 0.0F;
    layer.forward(loss_1, hidden, targets, pass_);
    return static_cast<double>(kScale) * *loss_1.data<float>();
  };
  loss();
  const float forward_only = *loss_1.data<float>();
  *loss_1.data<float>() = 0.0F;
  reducer_->begin(/*is_last_microbatch=*/true);
  layer.forward_backward(loss_1, dhidden, hidden, targets, kScale, *reducer_, pass_);
  reducer_->finish(pass_.stream);
  EXPECT_EQ(*loss_1.data<float>(), forward_only);
  expect_gradient(hidden, dhidden, loss, "hidden");
  for (const Parameter& parameter : parameters_.parameters())
    expect_gradient(parameter.value, parameter.gradient, loss, parameter.name);

  // Under smoothing the loss without it is to be had, too.
  Pass smoothed = pass_;
  smoothed.label_smoothing = 0.25F;
  smoothed.cross_entropy_1 = tensor({1});
  *loss_1.data<float>() = 0.0F;
  layer.forward(loss_1, hidden, targets, smoothed);
  EXPECT_EQ(*smoothed.cross_entropy_1.data<float>(), forward_only);
  EXPECT_NE(*loss_1.data<float>(), forward_only);
}

INSTANTIATE_TEST_SUITE_P(Dropout, LayerTest, ::testing::Values(0.0F, 0.25F));

}  // namespace
}  // namespace trireme
