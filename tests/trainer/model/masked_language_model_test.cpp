// The whole encoder: gradients, padding, microbatches, what is gathered, what BERT weighs.

#include "trainer/model/masked_language_model.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/elementwise.h"
#include "kernels/padding.h"
#include "parallel/self_communicator.h"
#include "tests/trainer/model/gradient_check.h"

namespace trireme {
namespace {

constexpr std::int64_t kSequences = 4;
constexpr std::int64_t kVocabulary = 23;
constexpr std::int64_t kContext = 12;
constexpr std::int64_t kMasks = 3;  // of each sequence

struct Variant {
  const char* name;
  void (*change)(TransformerOptions&);
};

const Variant kVariants[] = {
    {"bert", [](TransformerOptions&) {}},
    {"modern",
     [](TransformerOptions& o) {
       o.norm = NormKind::kRms;
       o.norm_placement = NormPlacement::kPre;
       o.activation = FeedForward::kGeglu;
       o.biases = Biases::kNone;
       o.positions = Positions::kRope;
       o.window = 3;
       o.tied_embeddings = false;
       o.token_types = 0;
     }},
    {"plain",
     [](TransformerOptions& o) {
       o.norm_placement = NormPlacement::kPre;
       o.positions = Positions::kSinusoidal;
       o.embedding_norm = false;
       o.output_transform = false;
       o.output_bias = false;
     }},
};

TransformerOptions options_of(const Variant& variant) {
  TransformerOptions options{.kind = ModelKind::kEncoder,
                             .layers = 2,
                             .width = 16,
                             .heads = 2,
                             .kv_heads = 2,
                             .head_width = 8,
                             .feed_forward = 40,
                             .context = kContext,
                             .vocabulary = kVocabulary,
                             .norm_placement = NormPlacement::kPost,
                             .activation = FeedForward::kGelu,
                             .embedding_norm = true,
                             .token_types = 2,
                             .output_transform = true,
                             .output_bias = true,
                             .init_stddev = 0.2F};
  variant.change(options);
  return options;
}

// Sequences [begin, end), of the lengths 12, 9, 6 and 3, padded to `sequence`.
struct Batch {
  Batch(std::int64_t begin, std::int64_t end, std::int64_t sequence = kContext, std::int32_t padding = 0)
      : shape({end - begin, sequence}) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t length = kContext - 3 * row;
      lengths.push_back(static_cast<std::int32_t>(length));
      for (std::int64_t t = 0; t < sequence; ++t) {
        tokens.push_back(t < length ? static_cast<std::int32_t>((row * 3 + t * t * 5 + t) % kVocabulary)
                                    : padding);
        types.push_back(static_cast<std::int32_t>((t + row) / 2 % 2));
      }
      for (std::int64_t i = 0; i < kMasks; ++i) {
        rows.push_back(static_cast<std::int32_t>((row - begin) * sequence + i * length / kMasks));
        targets.push_back(static_cast<std::int32_t>((row * 7 + i * 4 + 1) % kVocabulary));
      }
    }
    documents.resize(tokens.size());
    mark_padding(tensor(documents), {lengths.data(), DType::kInt32, {shape[0]}}, /*padding=*/1, {});
  }
  Tensor tensor(std::vector<std::int32_t>& numbers) { return {numbers.data(), DType::kInt32, shape}; }
  MaskedTokens masked() {
    const auto count = static_cast<std::int64_t>(rows.size());
    return {.rows_M = {rows.data(), DType::kInt32, {count}},
            .targets_M = {targets.data(), DType::kInt32, {count}}};
  }
  Pass pass(float dropout, std::int64_t first) {
    return {.batch = shape[0],
            .sequence = shape[1],
            .dropout = {.probability = dropout,
                        .attention_probability = dropout,
                        .seed = 9,
                        .step = 2,
                        .first_sequence = first},
            .documents_BT = tensor(documents),
            .token_types_BT = tensor(types)};
  }

  Shape shape;
  std::vector<std::int32_t> tokens, types, documents, lengths, rows, targets;
};

class MaskedLanguageModelTest : public ::testing::TestWithParam<Variant> {
 protected:
  MaskedLanguageModelTest() : model_(options_of(GetParam())) {
    model_.parameters().initialize(5);
    model_.allocate({.batch = kSequences, .sequence = kContext, .training = true}, kSequences * kMasks);
  }

  double loss(float dropout) {
    Batch batch(0, kSequences);
    float sum = 0.0F;
    std::int32_t hits = 0;
    model_.forward_loss({&sum, DType::kFloat32, {1}}, {&hits, DType::kInt32, {1}}, batch.tensor(batch.tokens),
                        batch.masked(), batch.pass(dropout, 0));
    return sum;
  }
  // Gradients of all sequences, computed `at_once` at a time.
  double accumulate(std::int64_t at_once, float dropout) {
    fill(model_.parameters().gradients(), 0.0F, Stream());
    float sum = 0.0F;
    for (std::int64_t first = 0; first < kSequences; first += at_once) {
      const std::int64_t end = std::min(first + at_once, kSequences);
      Batch batch(first, end);
      reducer_.begin(end == kSequences);
      model_.forward_backward({&sum, DType::kFloat32, {1}}, batch.tensor(batch.tokens), batch.masked(), 1.0F,
                              reducer_, batch.pass(dropout, first));
    }
    reducer_.finish(Stream());
    return sum;
  }
  std::vector<float> gradients() {
    const Tensor all = model_.parameters().gradients();
    return {all.data<float>(), all.data<float>() + all.num_elements()};
  }
  std::vector<float> hidden_states(Batch& batch, const Pass& pass) {
    const Tensor hidden = model_.hidden_states(batch.tensor(batch.tokens), pass);
    return {hidden.data<float>(), hidden.data<float>() + hidden.num_elements()};
  }

  MaskedLanguageModel model_;
  SelfCommunicator communicator_;
  GradientReducer reducer_{model_.parameters(), communicator_, 4096};
};

TEST_P(MaskedLanguageModelTest, GradientsOfEveryParameter) {
  for (const float dropout : {0.0F, 0.2F}) {
    EXPECT_FLOAT_EQ(static_cast<float>(accumulate(kSequences, dropout)), static_cast<float>(loss(dropout)));
    for (const Parameter& parameter : model_.parameters().parameters()) {
      expect_gradient(
          parameter.value, parameter.gradient, [&] { return loss(dropout); }, parameter.name, 2e-2);
    }
  }
}

TEST_P(MaskedLanguageModelTest, MicrobatchesAddUp) {
  for (const float dropout : {0.0F, 0.3F}) {
    const double whole_loss = accumulate(kSequences, dropout);
    const std::vector<float> whole = gradients();
    for (const std::int64_t at_once : {1, 3}) {
      EXPECT_NEAR(accumulate(at_once, dropout), whole_loss, 1e-5 * whole_loss);
      const std::vector<float> parts = gradients();
      for (std::size_t i = 0; i < whole.size(); ++i)
        ASSERT_NEAR(parts[i], whole[i], 1e-4 * (1.0F + std::abs(whole[i]))) << "element " << i;
    }
  }
}

// A sequence in a batch of longer ones, padded with tokens of any kind, is as it is alone.
TEST_P(MaskedLanguageModelTest, PaddingChangesNothing) {
  for (const std::int32_t padding : {0, 17}) {
    Batch batch(0, kSequences, kContext, padding);
    const std::vector<float> padded = hidden_states(batch, batch.pass(0.0F, 0));
    const std::int64_t width = model_.options().width;
    for (std::int64_t row = 0; row < kSequences; ++row) {
      const std::int64_t length = kContext - 3 * row;
      Batch alone(row, row + 1, length);
      Pass pass = alone.pass(0.0F, 0);
      pass.documents_BT = {};
      const std::vector<float> expected = hidden_states(alone, pass);
      for (std::int64_t i = 0; i < length * width; ++i) {
        ASSERT_NEAR(padded[static_cast<std::size_t>(row * kContext * width + i)],
                    expected[static_cast<std::size_t>(i)], 1e-5)
            << "sequence " << row << ", element " << i;
      }
    }
  }
}

// Each token sees those behind it as well as those before it.
TEST_P(MaskedLanguageModelTest, SeesBothSides) {
  Batch batch(0, 1);
  const std::vector<float> before = hidden_states(batch, batch.pass(0.0F, 0));
  batch.tokens[5] = (batch.tokens[5] + 1) % kVocabulary;
  const std::vector<float> after = hidden_states(batch, batch.pass(0.0F, 0));
  const auto width = static_cast<std::size_t>(model_.options().width);
  for (const std::size_t t : {4U, 6U}) {
    EXPECT_FALSE(
        std::equal(after.begin() + t * width, after.begin() + (t + 1) * width, before.begin() + t * width));
  }
}

TEST_P(MaskedLanguageModelTest, TokensAreOfTypeZeroUnlessGiven) {
  Batch batch(0, kSequences);
  Pass unnamed = batch.pass(0.0F, 0);
  unnamed.token_types_BT = {};
  const std::vector<float> without = hidden_states(batch, unnamed);
  const std::vector<float> given = hidden_states(batch, batch.pass(0.0F, 0));
  EXPECT_EQ(without != given, model_.options().token_types > 0);
  std::fill(batch.types.begin(), batch.types.end(), 0);
  EXPECT_EQ(hidden_states(batch, batch.pass(0.0F, 0)), without);
}

// The loss and the hits are those of the logits of the rows that are asked for.
TEST_P(MaskedLanguageModelTest, LogitsAreThoseOfTheLoss) {
  Batch batch(0, kSequences);
  const Pass pass = batch.pass(0.0F, 0);
  const Tensor hidden = model_.hidden_states(batch.tensor(batch.tokens), pass);
  double expected = 0.0;
  std::int32_t hits = 0;
  for (std::size_t i = 0; i < batch.rows.size(); ++i) {
    const Tensor logits = model_.logits(hidden, {&batch.rows[i], DType::kInt32, {1}}, Stream());
    const float* const row = logits.data<float>();
    const auto likeliest = static_cast<std::int32_t>(std::max_element(row, row + kVocabulary) - row);
    if (i % 2 == 0) batch.targets[i] = likeliest;  // sure to be hit
    hits += batch.targets[i] == likeliest ? 1 : 0;
    double sum = 0.0;
    for (std::int64_t v = 0; v < kVocabulary; ++v) sum += std::exp(static_cast<double>(row[v]));
    expected += std::log(sum) - row[batch.targets[i]];
  }
  float loss = 0.0F;
  std::int32_t counted = 5;
  model_.forward_loss({&loss, DType::kFloat32, {1}}, {&counted, DType::kInt32, {1}},
                      batch.tensor(batch.tokens), batch.masked(), pass);
  EXPECT_EQ(counted, 5 + hits);
  EXPECT_NEAR(loss, expected, 1e-5 * expected);
}

INSTANTIATE_TEST_SUITE_P(, MaskedLanguageModelTest, testing::ValuesIn(kVariants),
                         [](const auto& variant) { return std::string(variant.param.name); });

TransformerOptions bert_base() {
  return {.kind = ModelKind::kEncoder,
          .layers = 12,
          .width = 768,
          .heads = 12,
          .kv_heads = 12,
          .head_width = 64,
          .feed_forward = 3072,
          .context = 512,
          .vocabulary = 30522,
          .norm_placement = NormPlacement::kPost,
          .norm_epsilon = 1e-12F,
          .activation = FeedForward::kGelu,
          .embedding_norm = true,
          .token_types = 2,
          .output_transform = true,
          .output_bias = true,
          .init_stddev = 0.02F};
}

// Hugging Face's BertForMaskedLM of bert-base-uncased has as many, without the pooler.
TEST(MaskedLanguageModel, BertBaseHasItsParameters) {
  MaskedLanguageModel bert(bert_base());
  EXPECT_EQ(bert.parameters().num_parameters(), 109514298);
  const double blocks = 12.0 * (12 * 768 * 768 + 13 * 768);
  const double attention = 2.0 * 12 * 768 * 512;
  const double head = 30522.0 * 768 + 768 * 769;
  EXPECT_NEAR(bert.flops(3, 512, 231), 6.0 * (3 * 512 * (blocks + attention) + 231 * head), 1.0);
}

TEST(MaskedLanguageModel, OptionsSurviveJson) {
  const TransformerOptions read = TransformerOptions::from_json(bert_base().to_json(), "test");
  EXPECT_EQ(read.to_json(), bert_base().to_json());
  EXPECT_EQ(read.kind, ModelKind::kEncoder);
  EXPECT_EQ(read.token_types, 2);
  EXPECT_TRUE(read.embedding_norm && read.output_transform && read.output_bias);
  // A decoder without them is stored as it always was.
  EXPECT_EQ(TransformerOptions().to_json().find("embedding_norm"), std::string::npos);
  EXPECT_EQ(TransformerOptions().to_json().find("kind"), std::string::npos);
}

}  // namespace
}  // namespace trireme
