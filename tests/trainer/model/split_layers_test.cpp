// Layers that ranks share, against the same layers on one rank: values and all gradients.

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/activation.h"
#include "kernels/elementwise.h"
#include "parallel/counted_ranges.h"
#include "parallel/self_communicator.h"
#include "tests/support/ranks.h"
#include "tests/trainer/model/gradient_check.h"
#include "trainer/model/embedding.h"
#include "trainer/model/linear.h"
#include "trainer/model/loss.h"
#include "trainer/model/norm.h"
#include "trainer/model/positions.h"

namespace trireme {
namespace {

constexpr double kTolerance = 1e-6;  // of values of about 1
// Whole parts, a rest, ranks with one row or none, no more than one row at all.
constexpr std::int64_t kRows[] = {32, 21, 9, 5, 1};
constexpr std::int64_t kMostRows = 32;

using Values = std::vector<float>;

void expect_near(const Values& actual, const Values& expected, const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (std::size_t i = 0; i < actual.size(); ++i)
    ASSERT_NEAR(actual[i], expected[i], kTolerance * (1.0 + std::abs(expected[i])))
        << what << ", element " << i;
}

// What a layer makes of its input: all that could differ from layout to layout.
using Outcome = std::map<std::string, Values>;

// A layer's surroundings, on all ranks of the test or, to compare with, on this one alone.
class Site {
 public:
  Site(Communicator* group, std::int64_t width)
      : ranks(group, group != nullptr ? group->size() : 1), arena_(8 << 20) {
    ranks.allocate(arena_, kMostRows, width);
  }

  // After the layers are made.
  void begin() {
    parameters.allocate();
    parameters.initialize(5);
    for (const Parameter& parameter : parameters.parameters()) {
      // Constants would not tell one element from another.
      if (parameter.initializer.stddev != 0.0F) continue;
      Values whole(static_cast<std::size_t>(parameter.part.whole.num_elements()));
      fill_normal({whole.data(), DType::kFloat32, {std::ssize(whole)}}, parameter.name, 0.5F);
      for_each_piece(parameter.part, [&](const Piece& piece) {
        std::copy_n(whole.begin() + piece.whole, piece.size, parameter.value.data<float>() + piece.own);
      });
    }
    reducer = std::make_unique<GradientReducer>(parameters, alone_, 256);
    reducer->begin(/*is_last_microbatch=*/true);
  }

  Tensor floats(std::int64_t rows, std::int64_t columns) {
    return arena_.allocate(DType::kFloat32, {rows, columns});
  }
  // Own rows of [rows, columns], with room behind; of that name's random values, or unset.
  Tensor own(std::int64_t rows, std::int64_t columns, const std::string& name = "") {
    const Tensor x = ranks.own_rows_of(floats(ranks.rows_per_rank(rows), columns), rows);
    if (!name.empty())
      copy_columns(x, whole(rows, columns, name), columns, ranks.own_rows(rows), {{0, columns}});
    return x;
  }
  // All rows of some columns.
  Tensor columns(std::int64_t rows, std::int64_t all_columns, const std::vector<FlatRange>& ranges,
                 const std::string& name = "") {
    std::int64_t count = 0;
    for (const FlatRange& range : ranges) count += range.size();
    const Tensor x = floats(rows, count);
    if (!name.empty()) copy_columns(x, whole(rows, all_columns, name), all_columns, {0, rows}, ranges);
    return x;
  }

  // What ranks have, put together: zeros elsewhere, summed.
  Values assemble_rows(Tensor own_x, std::int64_t rows) const {
    const std::int64_t width = own_x.dim(1);
    Values all(static_cast<std::size_t>(rows * width), 0.0F);
    std::copy_n(own_x.data<float>(), own_x.num_elements(), all.begin() + ranks.own_rows(rows).begin * width);
    return summed(std::move(all));
  }
  Values assemble_columns(Tensor x, std::int64_t all_columns, const std::vector<FlatRange>& ranges) const {
    Values all(static_cast<std::size_t>(x.dim(0) * all_columns), 0.0F);
    const float* from = x.data<float>();
    for (std::int64_t row = 0; row < x.dim(0); ++row) {
      for (const FlatRange& range : ranges) {
        std::copy_n(from, range.size(), all.begin() + row * all_columns + range.begin);
        from += range.size();
      }
    }
    return summed(std::move(all));
  }
  // All gradients; each element from the rank that owns it.
  void add_gradients(Outcome& outcome) {
    reducer->finish({});
    std::vector<bool> is_owned(static_cast<std::size_t>(parameters.num_elements()), false);
    for (const FlatRange& range : counted_ranges(parameters, {{0, parameters.num_elements()}}))
      std::fill(is_owned.begin() + range.begin, is_owned.begin() + range.end, true);
    for (const Parameter& parameter : parameters.parameters()) {
      Values all(static_cast<std::size_t>(parameter.part.whole.num_elements()), 0.0F);
      for_each_piece(parameter.part, [&](const Piece& piece) {
        for (std::int64_t i = 0; i < piece.size; ++i) {
          if (is_owned[static_cast<std::size_t>(parameter.offset + piece.own + i)])
            all[static_cast<std::size_t>(piece.whole + i)] = parameter.gradient.data<float>()[piece.own + i];
        }
      });
      outcome["gradient of " + parameter.name] = summed(std::move(all));
    }
  }

  TensorRanks ranks;
  ParameterBuffer parameters;
  std::unique_ptr<GradientReducer> reducer;

 private:
  static Values whole(std::int64_t rows, std::int64_t columns, const std::string& name) {
    Values values(static_cast<std::size_t>(rows * columns));
    fill_normal({values.data(), DType::kFloat32, {rows, columns}}, name, 0.5F);
    return values;
  }
  static void copy_columns(Tensor to, const Values& from, std::int64_t columns, const FlatRange& rows,
                           const std::vector<FlatRange>& ranges) {
    float* out = to.data<float>();
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      for (const FlatRange& range : ranges)
        out = std::copy_n(from.begin() + row * columns + range.begin, range.size(), out);
    }
  }
  Values summed(Values values) const {
    if (ranks.is_alone()) return values;
    const Tensor x{values.data(), DType::kFloat32, {std::ssize(values)}};
    ranks.group()->wait(ranks.group()->all_reduce(x, ReduceOp::kSum, {}), {});
    return values;
  }
  SelfCommunicator alone_;
  Arena arena_;
};

// Compares what `run` makes on all ranks with what it makes on one.  Own rows have that width.
void expect_same(std::int64_t width, const std::function<Outcome(Site&, std::int64_t)>& run) {
  for (const std::int64_t rows : kRows) {
    SCOPED_TRACE(std::to_string(rows) + " rows");
    Site alone(nullptr, width), shared(&test_process().world(), width);
    const Outcome expected = run(alone, rows), actual = run(shared, rows);
    ASSERT_EQ(actual.size(), expected.size());
    for (const auto& [what, values] : expected) {
      ASSERT_TRUE(actual.contains(what)) << what;
      expect_near(actual.at(what), values, what);
    }
  }
}

// --- Linear ---

constexpr std::int64_t kInputs = 11;
constexpr std::int64_t kOutputs = 22;

// This rank's of the outputs: of 13 that ranks share, and of 9 behind them, unevenly.
std::vector<FlatRange> outputs_of(const TensorRanks& ranks) {
  const FlatRange first = ranks.share(13), second = ranks.share(9);
  return {first, {13 + second.begin, 13 + second.end}};
}

class SplitLayers : public testing::TestWithParam<bool> {};

TEST_P(SplitLayers, LinearOfSplitOutputs) {
  expect_same(kInputs, [](Site& site, std::int64_t rows) {
    const auto part = outputs_of(site.ranks);
    const Linear layer(site.parameters, "layer", kInputs, kOutputs, /*has_bias=*/true, 0.3F,
                       LinearSplit::outputs(site.ranks, part));
    site.begin();
    const Tensor x = site.own(rows, kInputs, "x"), dx = site.own(rows, kInputs);
    const Tensor y = site.columns(rows, kOutputs, part), dy = site.columns(rows, kOutputs, part, "dy");
    layer.forward(y, x, {});
    DeferredGradients deferred;
    layer.backward(dx, dy, x, *site.reducer, {},
                   GetParam() ? Deferral{.queue = &deferred, .dy_NO = dy} : Deferral());
    deferred.run(*site.reducer, {});
    Outcome outcome = {{"y", site.assemble_columns(y, kOutputs, part)}, {"dx", site.assemble_rows(dx, rows)}};
    site.add_gradients(outcome);
    return outcome;
  });
}

TEST_P(SplitLayers, LinearOfSplitOutputsAndActivation) {
  expect_same(kInputs, [](Site& site, std::int64_t rows) {
    const auto part = outputs_of(site.ranks);
    const Linear layer(site.parameters, "layer", kInputs, kOutputs, /*has_bias=*/true, 0.3F,
                       LinearSplit::outputs(site.ranks, part));
    site.begin();
    const Tensor x = site.own(rows, kInputs, "x"), dx = site.own(rows, kInputs);
    const Tensor y = site.columns(rows, kOutputs, part), before = site.columns(rows, kOutputs, part);
    const Tensor dy = site.columns(rows, kOutputs, part, "dy");
    layer.forward(y, before, x, Activation::kGelu, {});
    Outcome outcome = {{"y", site.assemble_columns(y, kOutputs, part)},
                       {"preactivation", site.assemble_columns(before, kOutputs, part)}};
    DeferredGradients deferred;
    activation_backward(dy, dy, before, Activation::kGelu, {});
    layer.backward(dx, dy, x, *site.reducer, {},
                   GetParam() ? Deferral{.queue = &deferred, .dy_NO = before} : Deferral());
    deferred.run(*site.reducer, {});
    outcome["dx"] = site.assemble_rows(dx, rows);
    site.add_gradients(outcome);
    return outcome;
  });
}

TEST_P(SplitLayers, LinearOfSplitInputs) {
  expect_same(/*width=*/7, [](Site& site, std::int64_t rows) {
    const FlatRange part = site.ranks.share(kInputs);
    const Linear layer(site.parameters, "layer", kInputs, /*outputs=*/7, /*has_bias=*/true, 0.3F,
                       LinearSplit::inputs(site.ranks, part));
    site.begin();
    const Tensor x = site.columns(rows, kInputs, {part}, "x"), dx = site.columns(rows, kInputs, {part});
    const Tensor y = site.own(rows, 7), dy = site.own(rows, 7, "dy"), kept = site.own(rows, 7);
    layer.forward(y, x, {});
    DeferredGradients deferred;
    layer.backward(dx, dy, x, *site.reducer, {},
                   GetParam() ? Deferral{.queue = &deferred, .dy_NO = kept} : Deferral());
    deferred.run(*site.reducer, {});
    Outcome outcome = {{"y", site.assemble_rows(y, rows)},
                       {"dx", site.assemble_columns(dx, kInputs, {part})}};
    site.add_gradients(outcome);
    return outcome;
  });
}

TEST_P(SplitLayers, LinearOfSplitInputsThroughActivation) {
  expect_same(/*width=*/7, [](Site& site, std::int64_t rows) {
    const FlatRange part = site.ranks.share(kInputs);
    const Linear layer(site.parameters, "layer", kInputs, /*outputs=*/7, /*has_bias=*/true, 0.3F,
                       LinearSplit::inputs(site.ranks, part));
    site.begin();
    const Tensor before = site.columns(rows, kInputs, {part}, "x"), x = site.columns(rows, kInputs, {part});
    const Tensor dx = site.columns(rows, kInputs, {part});
    const Tensor dy = site.own(rows, 7, "dy"), kept = site.own(rows, 7);
    activation_forward(x, before, Activation::kGelu, {});
    DeferredGradients deferred;
    layer.backward_through(dx, dy, x, before, Activation::kGelu, *site.reducer, {},
                           GetParam() ? Deferral{.queue = &deferred, .dy_NO = kept} : Deferral());
    deferred.run(*site.reducer, {});
    Outcome outcome = {{"dx", site.assemble_columns(dx, kInputs, {part})}};
    site.add_gradients(outcome);
    return outcome;
  });
}

INSTANTIATE_TEST_SUITE_P(, SplitLayers, testing::Bool(),
                         [](const auto& test) { return test.param ? "WeightsWait" : "AllAtOnce"; });

// --- What has own rows, and what a vocabulary ---

constexpr std::int64_t kWidth = 12;

TransformerOptions options() {
  return {.layers = 1,
          .width = kWidth,
          .heads = 4,
          .kv_heads = 4,
          .head_width = 3,
          .feed_forward = 20,
          .context = kMostRows,
          .vocabulary = 23,
          .init_stddev = 0.3F};
}

// One sequence of so many rows.
Pass pass_of(std::int64_t rows) {
  return {.batch = 1,
          .sequence = rows,
          .dropout = {.probability = 0.3F, .seed = 4, .step = 3, .first_sequence = 2}};
}

PassLimits limits_of(std::int64_t rows) {
  return {.batch = 1, .sequence = rows, .training = true};
}

std::vector<std::int32_t> tokens_of(std::int64_t rows, std::int64_t factor, bool with_ignored = false) {
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < rows; ++i)
    tokens.push_back(with_ignored && i % 4 == 3 ? -1 : static_cast<std::int32_t>((i * i * factor + i) % 23));
  return tokens;
}

// Its gradients are parts of sums, which the reducer makes.
TEST(SplitLayersOfOwnRows, NormWithDropout) {
  for (const NormKind norm : {NormKind::kLayer, NormKind::kRms}) {
    expect_same(kWidth, [norm](Site& site, std::int64_t rows) {
      TransformerOptions of_norm = options();
      of_norm.norm = norm;
      const ResidualNorm layer(site.parameters, "norm", of_norm, site.ranks);
      site.begin();
      const Pass pass = pass_of(rows);
      Arena arena(1 << 20);
      const auto activations = layer.allocate(arena, limits_of(rows));
      const Dropout mask =
          site.ranks.own_mask(pass.dropout.at(0, DropoutSite::kMlpBranch, rows * kWidth), rows, kWidth);
      ResidualStream stream{.residual_NC = site.own(rows, kWidth, "residual"),
                            .branch_NC = site.own(rows, kWidth, "branch"),
                            .dropout = mask};
      const Tensor y = layer.forward(stream, activations, pass);
      ResidualGradient gradient{.dresidual_NC = site.own(rows, kWidth, "dresidual"), .dbranch_NC = {}};
      layer.backward(gradient, site.own(rows, kWidth), site.own(rows, kWidth, "dy"), activations, mask,
                     *site.reducer, pass);
      Outcome outcome = {{"y", site.assemble_rows(y, rows)},
                         {"sum", site.assemble_rows(stream.residual_NC, rows)},
                         {"dresidual", site.assemble_rows(gradient.dresidual_NC, rows)},
                         {"dbranch", site.assemble_rows(gradient.dbranch_NC, rows)}};
      site.add_gradients(outcome);
      return outcome;
    });
  }
}

void expect_same_embedding(const TransformerOptions& options) {
  expect_same(kWidth, [&](Site& site, std::int64_t rows) {
    const PositionTables positions(options);
    const Embedding layer(site.parameters, options, {.layers = 1}, positions, site.ranks);
    site.begin();
    const Pass pass = pass_of(rows);
    Arena arena(1 << 20);
    const auto activations = layer.allocate(arena, limits_of(rows));
    std::vector<std::int32_t> tokens = tokens_of(rows, 7);
    const Tensor tokens_BT{tokens.data(), DType::kInt32, {1, rows}};
    const Tensor x = site.own(rows, kWidth), dx = site.own(rows, kWidth, "dx");
    layer.forward(x, tokens_BT, activations, site.own(rows, kWidth), pass);
    layer.backward(dx, tokens_BT, activations, site.own(rows, kWidth), *site.reducer, pass);
    Outcome outcome = {{"x", site.assemble_rows(x, rows)}};
    site.add_gradients(outcome);
    return outcome;
  });
}

TEST(SplitLayersOfOwnRows, EmbeddingWithLearnedPositions) {
  expect_same_embedding(options());
}

TEST(SplitLayersOfOwnRows, EmbeddingWithSinusoidsAndNorm) {
  TransformerOptions of_embedding = options();
  of_embedding.positions = Positions::kSinusoidal;
  of_embedding.embedding_norm = true;
  expect_same_embedding(of_embedding);
}

// A vocabulary that no number of ranks divides, and one of a single token each.
TEST(SplitLayersOfOwnRows, LossWithSmoothingAndIgnoredTargets) {
  for (const std::int64_t vocabulary : {std::int64_t{23}, std::int64_t{4}}) {
    for (const float smoothing : {0.0F, 0.1F}) {
      expect_same(kWidth, [&](Site& site, std::int64_t rows) {
        TransformerOptions of_loss = options();
        of_loss.vocabulary = vocabulary;
        of_loss.tied_embeddings = false;
        of_loss.output_bias = true;
        LanguageModelLoss layer(site.parameters, of_loss, nullptr, site.ranks);
        site.begin();
        Arena arena(1 << 20);
        layer.allocate(arena, limits_of(rows));
        std::vector<std::int32_t> targets = tokens_of(rows, 5, /*with_ignored=*/true);
        for (std::int32_t& target : targets) target = std::min<std::int32_t>(target, vocabulary - 1);
        const Tensor targets_N{targets.data(), DType::kInt32, {rows}};
        Values losses(4, 0.0F);
        const auto loss = [&](std::size_t i) { return Tensor(&losses[i], DType::kFloat32, {1}); };
        Pass pass = pass_of(rows);
        pass.label_smoothing = smoothing;
        pass.cross_entropy_1 = loss(1);
        const Tensor hidden = site.own(rows, kWidth, "hidden"), dhidden = site.own(rows, kWidth);
        layer.forward_backward(loss(0), dhidden, hidden, targets_N, 0.5F, *site.reducer, pass);
        pass.cross_entropy_1 = loss(3);
        layer.forward(loss(2), hidden, targets_N, pass);
        Outcome outcome = {{"losses", losses}, {"dhidden", site.assemble_rows(dhidden, rows)}};
        site.add_gradients(outcome);
        return outcome;
      });
    }
  }
}

}  // namespace
}  // namespace trireme
