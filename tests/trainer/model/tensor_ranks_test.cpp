// Ranks that share each layer train what one rank trains: the layers of models, one by one option.

#include "trainer/model/tensor_ranks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "parallel/counted_ranges.h"
#include "parallel/mesh.h"
#include "parallel/self_communicator.h"
#include "tests/support/ranks.h"
#include "trainer/model/encoder_decoder.h"
#include "trainer/model/transformer.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/grad_norm.h"

namespace trireme {
namespace {

constexpr std::int64_t kVocabulary = 27;  // of no number of ranks a multiple
constexpr std::int64_t kContext = 7;
constexpr std::int64_t kSequences = 4;  // of a step
constexpr std::int64_t kSteps = 10;
constexpr std::int64_t kBucketBytes = 6 << 10;  // so that a model has several

struct Variant {
  const char* name;
  void (*change)(TransformerOptions&);
  float label_smoothing = 0.0F;
  bool is_packed = false;
  Recompute recompute = Recompute::kNone;
};

std::ostream& operator<<(std::ostream& out, const Variant& variant) {
  return out << variant.name;
}

void llama(TransformerOptions& o) {
  o.kv_heads = 4;
  o.norm = NormKind::kRms;
  o.activation = FeedForward::kSwiglu;
  o.biases = Biases::kNone;
  o.positions = Positions::kRope;
  o.tied_embeddings = false;
}

void with_dropout(TransformerOptions& o) {
  o.dropout = 0.2F;
  o.attention_dropout = 0.3F;
}

const Variant kTexts[] = {
    {.name = "gpt2", .change = [](TransformerOptions&) {}},
    {.name = "llama", .change = llama},
    {.name = "shared_keys",
     .change =
         [](TransformerOptions& o) {
           llama(o);
           o.kv_heads = 1;
           o.biases = Biases::kQkv;
         }},
    {.name = "two_shared_keys",
     .change =
         [](TransformerOptions& o) {
           llama(o);
           o.kv_heads = 2;
           with_dropout(o);
         }},
    {.name = "post_alibi",
     .change =
         [](TransformerOptions& o) {
           o.norm_placement = NormPlacement::kPost;
           o.positions = Positions::kAlibi;
           o.activation = FeedForward::kRelu;
         }},
    {.name = "window", .change = [](TransformerOptions& o) { o.window = 3; }},
    {.name = "dropout", .change = with_dropout},
    {.name = "embedding_norm",
     .change =
         [](TransformerOptions& o) {
           with_dropout(o);
           o.embedding_norm = true;
           o.output_bias = true;
         }},
    {.name = "smoothing", .change = [](TransformerOptions&) {}, .label_smoothing = 0.1F},
    {.name = "packed", .change = llama, .is_packed = true},
    {.name = "recompute_full", .change = with_dropout, .recompute = Recompute::kFull},
    {.name = "recompute_selective", .change = llama, .recompute = Recompute::kSelective},
};

const Variant kPairs[] = {
    {.name = "paper",
     .change =
         [](TransformerOptions& o) {
           o.norm_placement = NormPlacement::kPost;
           o.positions = Positions::kSinusoidal;
           with_dropout(o);
         },
     .label_smoothing = 0.1F},
    {.name = "shared_keys",
     .change =
         [](TransformerOptions& o) {
           llama(o);
           o.kv_heads = 1;
           o.tied_source_embedding = false;
         }},
    {.name = "cross_positions",
     .change =
         [](TransformerOptions& o) {
           llama(o);
           o.cross_positions = true;
         }},
    {.name = "recompute_full",
     .change = [](TransformerOptions& o) { o.norm_placement = NormPlacement::kPost; },
     .recompute = Recompute::kFull},
};

TransformerOptions options_of(const Variant& variant, ModelKind kind) {
  TransformerOptions options{.kind = kind,
                             .layers = 2,
                             .encoder_layers = kind == ModelKind::kEncoderDecoder ? 2 : 0,
                             .width = 24,
                             .heads = 4,
                             .kv_heads = 4,
                             .head_width = 6,
                             .feed_forward = 37,
                             .context = kContext,
                             .vocabulary = kVocabulary,
                             .init_stddev = 0.2F};
  variant.change(options);
  return options;
}

std::int32_t token(std::int64_t i) {
  return static_cast<std::int32_t>((i * i * 7 + i * 5 + 3) % kVocabulary);
}

// Texts of a step: sequence s of the step has tokens of its own.
struct Texts {
  using Model = Transformer;
  static constexpr ModelKind kKind = ModelKind::kDecoder;

  static void allocate(Model& model, const Variant& variant) {
    model.allocate({.batch = 1, .sequence = kContext, .training = true, .recompute = variant.recompute});
  }

  Texts(std::int64_t step, std::int64_t sequence, const Variant& variant) {
    for (std::int64_t t = 0; t < kContext; ++t) {
      inputs.push_back(token(11 * step + 5 * sequence + t));
      targets.push_back(token(11 * step + 5 * sequence + t + 1));
      documents.push_back(t < 3 ? 0 : 1);
      positions.push_back(static_cast<std::int32_t>(t < 3 ? t : t - 3));
    }
    is_packed = variant.is_packed;
  }
  static Tensor row(std::vector<std::int32_t>& values) {
    return {values.data(), DType::kInt32, {1, kContext}};
  }
  void complete(Pass& pass) {
    pass.batch = 1;
    pass.sequence = kContext;
    if (!is_packed) return;
    pass.documents_BT = row(documents);
    pass.positions_BT = row(positions);
  }
  void forward_backward(Model& model, Tensor loss_1, float scale, GradientReducer& reducer,
                        const Pass& pass) {
    model.forward_backward(loss_1, row(inputs), row(targets), scale, reducer, pass);
  }
  void forward_loss(Model& model, Tensor loss_1, const Pass& pass) {
    model.forward_loss(loss_1, row(inputs), row(targets), pass);
  }

  std::vector<std::int32_t> inputs, targets, documents, positions;
  bool is_packed = false;
};

// Pairs, of 1 to 7 tokens, some with padding: so few rows that there are ranks without any.
struct Pairs {
  using Model = EncoderDecoder;
  static constexpr ModelKind kKind = ModelKind::kEncoderDecoder;

  static void allocate(Model& model, const Variant& variant) {
    model.allocate({.source_tokens = 2 * kContext,
                    .target_tokens = 2 * kContext,
                    .training = true,
                    .recompute = variant.recompute});
  }

  Pairs(std::int64_t step, std::int64_t sequence, const Variant&)
      : pairs(1 + sequence % 2), source_length(1 + 2 * sequence), target_length(kContext - 2 * sequence) {
    for (std::int64_t i = 0; i < pairs * source_length; ++i)
      sources.push_back(token(13 * step + 3 * sequence + i));
    for (std::int64_t i = 0; i < pairs * target_length; ++i) {
      inputs.push_back(token(17 * step + 3 * sequence + i));
      outputs.push_back(i > 0 && i % target_length == target_length - 1 ? kIgnoredTarget
                                                                        : token(17 * step + i + 1));
    }
    lengths.assign(static_cast<std::size_t>(pairs), static_cast<std::int32_t>(source_length));
    if (source_length > 1) --lengths.back();
  }
  PairTensors tensors() {
    return {.sources_BS = {sources.data(), DType::kInt32, {pairs, source_length}},
            .source_lengths_B = {lengths.data(), DType::kInt32, {pairs}},
            .target_inputs_BT = {inputs.data(), DType::kInt32, {pairs, target_length}},
            .target_outputs_BT = {outputs.data(), DType::kInt32, {pairs, target_length}}};
  }
  void complete(Pass&) {}
  void forward_backward(Model& model, Tensor loss_1, float scale, GradientReducer& reducer,
                        const Pass& pass) {
    model.forward_backward(loss_1, tensors(), scale, reducer, pass);
  }
  void forward_loss(Model& model, Tensor loss_1, const Pass& pass) {
    model.forward_loss(loss_1, tensors(), pass);
  }

  std::int64_t pairs, source_length, target_length;
  std::vector<std::int32_t> sources, lengths, inputs, outputs;
};

struct Group {
  Communicator& tensor;
  Communicator& data;
  Communicator& model;
};

struct Course {
  std::vector<double> losses;  // of each step, and at last of a validation
  std::vector<double> grad_norms;
  std::int64_t bytes_received = 0;  // over the tensor axis, in the first step
};

// A model, and what it went through.
template <typename Case>
struct Trained {
  Trained(const Variant& variant, const Group& group)
      : model(options_of(variant, Case::kKind), ParameterMemory::kValuesAndGradients,
              {.tensor = &group.tensor}) {
    Case::allocate(model, variant);
    train(variant, group);
  }

  Pass pass_of(const Variant& variant, std::int64_t step, std::int64_t sequence) {
    Pass pass{.dropout = {.probability = model.options().dropout,
                          .attention_probability = model.options().attention_dropout,
                          .seed = 3,
                          .step = step,
                          .first_sequence = sequence},
              .label_smoothing = variant.label_smoothing};
    return pass;
  }

  void train(const Variant& variant, const Group& group) {
    ParameterBuffer& parameters = model.parameters();
    parameters.initialize(5);
    // Where a gradient is nothing but rounding, as that of a key's bias, a small epsilon would make steps of
    // it.
    AdamW adamw(parameters, {.epsilon = 1e-4});
    GradientReducer reducer(parameters, group.data, kBucketBytes);
    GradientNorm norm(counted_ranges(parameters, {{0, parameters.num_elements()}}), {&group.model});
    const FlatRange own = share_of(kSequences, group.data.rank(), group.data.size());
    float loss = 0.0F;
    const Tensor loss_1(&loss, DType::kFloat32, {1});
    adamw.set_learning_rate(0.01, {});
    for (std::int64_t step = 0; step < kSteps; ++step) {
      const std::int64_t before = group.tensor.traffic().bytes_received;
      fill(parameters.gradients(), 0.0F, {});
      loss = 0.0F;
      for (std::int64_t s = own.begin; s < own.end; ++s) {
        Case batch(step, s, variant);
        Pass pass = pass_of(variant, step, s);
        batch.complete(pass);
        reducer.begin(s + 1 == own.end);
        batch.forward_backward(model, loss_1, 1.0F / (kSequences * kContext), reducer, pass);
      }
      reducer.finish({});
      if (step == 0) course.bytes_received = group.tensor.traffic().bytes_received - before;
      const Tensor squared_norm = norm.squared(parameters.gradients(), {});
      group.data.wait(group.data.all_reduce(loss_1, ReduceOp::kSum, {}), {});
      course.losses.push_back(loss);
      adamw.step(parameters.gradients(), squared_norm, loss_1, {});
      course.grad_norms.push_back(*adamw.gradient_norm().data<float>());
    }
    Case batch(kSteps, 1, variant);
    Pass pass;
    batch.complete(pass);
    loss = 0.0F;
    batch.forward_loss(model, loss_1, pass);
    course.losses.push_back(loss);
  }

  typename Case::Model model;
  Course course;
};

void expect_near(double actual, double expected, double tolerance, const std::string& what) {
  EXPECT_NEAR(actual, expected, tolerance * std::abs(expected)) << what;
}

// The largest difference to the whole parameter's elements, relative to their root mean square.
double difference(const Parameter& part, const Parameter& whole) {
  const float* const expected = whole.value.data<float>();
  double squares = 0.0, largest = 0.0;
  for (std::int64_t i = 0; i < whole.shape.num_elements(); ++i)
    squares += static_cast<double>(expected[i]) * expected[i];
  for_each_piece(part.part, [&](const Piece& piece) {
    for (std::int64_t i = 0; i < piece.size; ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(part.value.data<float>()[piece.own + i]) -
                                           expected[piece.whole + i]));
    }
  });
  return largest / std::sqrt(squares / static_cast<double>(whole.shape.num_elements()));
}

// The numbers are the same bits on all ranks.
void expect_alike(std::vector<double> numbers, Communicator& group) {
  std::vector<float> both;
  for (const double x : numbers) both.insert(both.end(), {static_cast<float>(x), static_cast<float>(-x)});
  std::vector<float> largest = both;
  group.wait(group.all_reduce({largest.data(), DType::kFloat32, {std::ssize(largest)}}, ReduceOp::kMax, {}),
             {});
  EXPECT_EQ(largest, both);
}

template <typename Case>
void expect_same_as_one_rank(const Variant& variant, int tensor_ranks) {
  Communicator& world = test_process().world();
  if (world.size() % tensor_ranks != 0) return;  // mpirun brings more
  const Mesh mesh({.data = 0, .tensor = tensor_ranks}, world);
  const Group group{mesh.tensor(), mesh.data(), mesh.model()};
  SelfCommunicator self;
  const Trained<Case> one(variant, {self, self, self});
  const Trained<Case> run(variant, group);

  expect_near(run.course.losses[0], one.course.losses[0], 1e-6, "first loss");
  for (std::size_t i = 0; i < one.course.losses.size(); ++i)
    expect_near(run.course.losses[i], one.course.losses[i], 1e-4, "loss " + std::to_string(i));
  for (std::size_t i = 0; i < one.course.grad_norms.size(); ++i)
    expect_near(run.course.grad_norms[i], one.course.grad_norms[i], 1e-4, "norm " + std::to_string(i));
  expect_alike(run.course.losses, mesh.model());
  expect_alike(run.course.grad_norms, world);

  auto& whole = const_cast<Trained<Case>&>(one).model.parameters();
  auto& parts = const_cast<Trained<Case>&>(run).model.parameters();
  ASSERT_EQ(parts.parameters().size(), whole.parameters().size());
  for (std::size_t i = 0; i < parts.parameters().size(); ++i) {
    const Parameter& part = parts.parameters()[i];
    EXPECT_EQ(part.name, whole.parameters()[i].name);
    EXPECT_LE(difference(part, whole.parameters()[i]), 1e-4) << part.name;
  }
  EXPECT_LT(parts.num_parameters(), whole.num_parameters());

  Trained<Case> again(variant, group);
  EXPECT_EQ(again.course.losses, run.course.losses);
  EXPECT_EQ(again.course.grad_norms, run.course.grad_norms);
  EXPECT_EQ(std::memcmp(again.model.parameters().values().raw_data(), parts.values().raw_data(),
                        static_cast<std::size_t>(parts.num_elements()) * sizeof(float)),
            0);
}

std::int64_t padded_rows(std::int64_t rows, std::int64_t ranks) {
  return ((rows + ranks - 1) / ranks + 3) / 4 * 4 * ranks;
}

// What tensor_ranks.h says of a step: also of a batch whose rows don't divide.
TEST(TensorRanks, ReceiveWhatTheFormulaSays) {
  Communicator& world = test_process().world();
  const std::int64_t ranks = world.size();
  const Mesh mesh({.data = 1, .tensor = world.size()}, world);
  const Trained<Texts> run({.name = "llama", .change = llama}, {mesh.tensor(), mesh.data(), mesh.model()});
  const TransformerOptions& options = run.model.options();
  const std::int64_t exchanges = 10 * options.layers + 4;
  const std::int64_t of_rows = exchanges * padded_rows(kContext, ranks) * options.width * (ranks - 1) / ranks;
  const std::int64_t of_loss = (ranks - 1) * 3 * kContext;
  const std::int64_t of_norms = 2 * (2 * options.layers + 1) * options.width * (ranks - 1) / ranks;
  EXPECT_EQ(run.course.bytes_received, 4 * (kSequences * (of_rows + of_loss) + of_norms));
}

class TensorRanksOfText : public testing::TestWithParam<Variant> {};
class TensorRanksOfPairs : public testing::TestWithParam<Variant> {};

TEST_P(TensorRanksOfText, TrainAsOne) {
  for (const int ranks : {2, 4}) expect_same_as_one_rank<Texts>(GetParam(), ranks);
}

TEST_P(TensorRanksOfPairs, TrainAsOne) {
  for (const int ranks : {2, 4}) expect_same_as_one_rank<Pairs>(GetParam(), ranks);
}

const auto kNameOf = [](const auto& info) { return std::string(info.param.name); };
INSTANTIATE_TEST_SUITE_P(, TensorRanksOfText, testing::ValuesIn(kTexts), kNameOf);
INSTANTIATE_TEST_SUITE_P(, TensorRanksOfPairs, testing::ValuesIn(kPairs), kNameOf);

}  // namespace
}  // namespace trireme
