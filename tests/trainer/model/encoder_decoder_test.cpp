// The whole encoder-decoder: gradients, padding, microbatches, masks, the cache.

#include "trainer/model/encoder_decoder.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/elementwise.h"
#include "parallel/self_communicator.h"
#include "tests/trainer/model/gradient_check.h"

namespace trireme {
namespace {

constexpr std::int64_t kPairs = 5;
constexpr std::int64_t kVocabulary = 23;
constexpr std::int64_t kContext = 12;
constexpr std::int64_t kSourceLengths[kPairs] = {4, 9, 1, 7, 6};  // with the end
constexpr std::int64_t kTargetLengths[kPairs] = {8, 2, 5, 7, 1};

struct Variant {
  const char* name;
  void (*change)(TransformerOptions&);
};

const Variant kVariants[] = {
    {"paper", [](TransformerOptions&) {}},
    {"modern",
     [](TransformerOptions& o) {
       o.heads = 4;
       o.kv_heads = 2;
       o.head_width = 6;
       o.norm = NormKind::kRms;
       o.norm_placement = NormPlacement::kPre;
       o.activation = FeedForward::kSwiglu;
       o.biases = Biases::kNone;
       o.positions = Positions::kRope;
       o.tied_embeddings = false;
       o.tied_source_embedding = false;
     }},
    {"cross_positions",
     [](TransformerOptions& o) {
       o.heads = 4;
       o.kv_heads = 2;
       o.head_width = 6;
       o.positions = Positions::kRope;
       o.cross_positions = true;
     }},
    {"learned",
     [](TransformerOptions& o) {
       o.norm_placement = NormPlacement::kPre;
       o.activation = FeedForward::kGelu;
       o.positions = Positions::kLearned;
       o.tied_source_embedding = false;
     }},
    {"window",
     [](TransformerOptions& o) {
       o.window = 3;
       o.biases = Biases::kQkv;
       o.positions = Positions::kAlibi;
       o.tied_embeddings = false;
     }},
    {"looped",
     [](TransformerOptions& o) {
       o.layers = 1;
       o.encoder_layers = 2;
       o.loops = 2;
       o.norm_placement = NormPlacement::kPre;
       o.positions = Positions::kLearned;
     }},
    {"halting",
     [](TransformerOptions& o) {
       o.layers = 1;
       o.encoder_layers = 2;
       o.loops = 2;  // so that no position is about to halt, which finite differences would stumble over
       o.halting = true;
     }},
};

TransformerOptions options_of(const Variant& variant) {
  TransformerOptions options{.kind = ModelKind::kEncoderDecoder,
                             .layers = 2,
                             .encoder_layers = 3,
                             .width = 16,
                             .heads = 2,
                             .kv_heads = 2,
                             .head_width = 8,
                             .feed_forward = 40,
                             .context = kContext,
                             .vocabulary = kVocabulary,
                             .norm_placement = NormPlacement::kPost,
                             .activation = FeedForward::kSilu,
                             .positions = Positions::kSinusoidal,
                             .init_stddev = 0.2F};
  variant.change(options);
  return options;
}

// Some of the pairs, padded to these lengths with tokens of any kind.
struct Batch {
  Batch(std::int64_t begin, std::int64_t end, std::int64_t source_size, std::int64_t target_size,
        std::int32_t padding = 0)
      : size(end - begin), source_length(source_size), target_length(target_size) {
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t s = 0; s < source_length; ++s)
        sources.push_back(s < kSourceLengths[row] ? token(row, s, 7) : padding);
      for (std::int64_t t = 0; t < target_length; ++t) {
        const bool is_padding = t >= kTargetLengths[row];
        inputs.push_back(is_padding ? padding : token(row, t, 5));
        outputs.push_back(is_padding ? -1 : token(row, t + 1, 5));
      }
      lengths.push_back(static_cast<std::int32_t>(kSourceLengths[row]));
    }
  }
  static std::int32_t token(std::int64_t row, std::int64_t i, std::int64_t factor) {
    return static_cast<std::int32_t>((row * 3 + i * i * factor + i) % kVocabulary);
  }
  PairTensors tensors() {
    return {.sources_BS = {sources.data(), DType::kInt32, {size, source_length}},
            .source_lengths_B = {lengths.data(), DType::kInt32, {size}},
            .target_inputs_BT = {inputs.data(), DType::kInt32, {size, target_length}},
            .target_outputs_BT = {outputs.data(), DType::kInt32, {size, target_length}}};
  }

  std::int64_t size;
  std::int64_t source_length;
  std::int64_t target_length;
  std::vector<std::int32_t> sources, lengths, inputs, outputs;
};

class EncoderDecoderTest : public ::testing::TestWithParam<Variant> {
 protected:
  EncoderDecoderTest() : model_(options_of(GetParam())) {
    model_.parameters().initialize(5);
    model_.allocate(
        {.source_tokens = kPairs * kContext, .target_tokens = kPairs * kContext, .training = true});
  }

  static Pass pass(std::int64_t first, float dropout) {
    return {.dropout = {.probability = dropout,
                        .attention_probability = dropout / 2,
                        .seed = 9,
                        .step = 2,
                        .first_sequence = first},
            .label_smoothing = 0.1F,
            .ponder_cost = 0.3F};
  }
  double loss(Batch batch, float dropout) {
    float sum = 0.0F;
    model_.forward_loss({&sum, DType::kFloat32, {1}}, batch.tensors(), pass(0, dropout));
    return sum;
  }
  // Gradients of all pairs, `at_once` at a time.
  double accumulate(std::int64_t at_once, std::int64_t source_length, std::int64_t target_length,
                    float dropout, std::int32_t padding = 0) {
    fill(model_.parameters().gradients(), 0.0F, Stream());
    float sum = 0.0F;
    for (std::int64_t first = 0; first < kPairs; first += at_once) {
      const std::int64_t end = std::min(first + at_once, kPairs);
      Batch batch(first, end, source_length, target_length, padding);
      reducer_.begin(end == kPairs);
      model_.forward_backward({&sum, DType::kFloat32, {1}}, batch.tensors(), 1.0F, reducer_,
                              pass(first, dropout));
    }
    reducer_.finish(Stream());
    return sum;
  }
  std::vector<float> gradients() {
    const Tensor all = model_.parameters().gradients();
    return {all.data<float>(), all.data<float>() + all.num_elements()};
  }
  void expect_same(double loss, double expected_loss, const std::vector<float>& expected,
                   const std::string& what) {
    EXPECT_NEAR(loss, expected_loss, 1e-5 * expected_loss) << what;
    const std::vector<float> actual = gradients();
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(actual[i], expected[i], 1e-4 * (1.0F + std::abs(expected[i]))) << what << ", element " << i;
    }
  }

  EncoderDecoder model_;
  SelfCommunicator communicator_;
  GradientReducer reducer_{model_.parameters(), communicator_, 4096};
};

TEST_P(EncoderDecoderTest, GradientsOfEveryParameter) {
  for (const float dropout : {0.0F, 0.2F}) {
    const auto loss_of_all = [&] { return loss(Batch(0, kPairs, 9, 8), dropout); };
    EXPECT_FLOAT_EQ(static_cast<float>(accumulate(kPairs, 9, 8, dropout)), static_cast<float>(loss_of_all()));
    for (const Parameter& parameter : model_.parameters().parameters()) {
      expect_gradient(parameter.value, parameter.gradient, loss_of_all, parameter.name, 2e-2);
    }
  }
}

// A pair's loss and gradients are its own: neither its company nor what its row is filled up with changes
// them.
TEST_P(EncoderDecoderTest, PaddingChangesNothing) {
  const double alone_loss = [&] {
    double sum = 0.0;
    for (std::int64_t i = 0; i < kPairs; ++i)
      sum += loss(Batch(i, i + 1, kSourceLengths[i], kTargetLengths[i]), 0.0F);
    return sum;
  }();
  fill(model_.parameters().gradients(), 0.0F, Stream());
  for (std::int64_t i = 0; i < kPairs; ++i) {
    Batch batch(i, i + 1, kSourceLengths[i], kTargetLengths[i]);
    float unused = 0.0F;
    reducer_.begin(i + 1 == kPairs);
    model_.forward_backward({&unused, DType::kFloat32, {1}}, batch.tensors(), 1.0F, reducer_, pass(i, 0.0F));
  }
  reducer_.finish(Stream());
  const std::vector<float> alone = gradients();
  for (const auto& [source_length, target_length] : {std::pair{9, 8}, std::pair{12, 11}}) {
    for (const std::int32_t padding : {0, 17}) {
      expect_same(accumulate(kPairs, source_length, target_length, 0.0F, padding), alone_loss, alone,
                  "padded to " + std::to_string(source_length) + " with " + std::to_string(padding));
    }
  }
}

// The global batch is what counts, however it is cut: masks included.
TEST_P(EncoderDecoderTest, MicrobatchesAddUp) {
  const double whole_loss = accumulate(kPairs, 9, 8, 0.3F);
  const std::vector<float> whole = gradients();
  EXPECT_NE(whole_loss, accumulate(kPairs, 9, 8, 0.0F));
  for (const std::int64_t at_once : {1, 2, 3})
    expect_same(accumulate(at_once, 9, 8, 0.3F), whole_loss, whole, std::to_string(at_once) + " at once");
}

// To the last bit.
TEST_P(EncoderDecoderTest, RecomputationChangesNothing) {
  const double kept_loss = accumulate(2, 9, 8, 0.3F);
  const std::vector<float> kept = gradients();
  for (const Recompute recompute : {Recompute::kSelective, Recompute::kFull}) {
    model_.allocate({.source_tokens = kPairs * kContext,
                     .target_tokens = kPairs * kContext,
                     .training = true,
                     .recompute = recompute});
    EXPECT_EQ(accumulate(2, 9, 8, 0.3F), kept_loss);
    EXPECT_EQ(gradients(), kept) << static_cast<int>(recompute);
  }
}

INSTANTIATE_TEST_SUITE_P(, EncoderDecoderTest, testing::ValuesIn(kVariants),
                         [](const auto& variant) { return std::string(variant.param.name); });

TEST(EncoderDecoderShape, BaseOfThePaper) {
  TransformerOptions base = options_of(kVariants[0]);
  base.layers = base.encoder_layers = 6;
  base.width = 512;
  base.heads = base.kv_heads = 8;
  base.head_width = 64;
  base.feed_forward = 2048;
  base.vocabulary = 37000;
  EncoderDecoder model(base);
  // A block of the encoder, of the decoder, and the one table; with biases, without a norm at the end.
  const std::int64_t attention = 4 * (512 * 512 + 512), mlp = 2 * 512 * 2048 + 2048 + 512, norm = 2 * 512;
  EXPECT_EQ(model.parameters().num_parameters(),
            6 * (attention + mlp + 2 * norm) + 6 * (2 * attention + mlp + 3 * norm) + 37000 * 512);
  // One pair of one token each: each weight is multiplied once, and each query sees one key, or half of one.
  const double keys_and_values = 6 * 2 * (512 * 512.0 + 512);
  EXPECT_GT(model.flops(1, 1, 1), 6.0 * 0.99 * 63e6);
  EXPECT_NEAR(model.flops(2, 2, 4) - model.flops(2, 2, 2),
              2 * 6.0 * (6 * (2 * attention + mlp + 3 * norm) - keys_and_values + 37000 * 512 + 6 * 1024) +
                  6.0 * 6 * 1024 * 3,
              1.0);
}

TEST(EncoderDecoderOptions, SurviveJson) {
  for (const Variant& variant : kVariants) {
    const TransformerOptions options = options_of(variant);
    const TransformerOptions read = TransformerOptions::from_json(options.to_json(), "test");
    EXPECT_EQ(read.to_json(), options.to_json());
    EXPECT_EQ(read.kind, ModelKind::kEncoderDecoder);
    EXPECT_EQ(read.encoder_layers, options.encoder_layers);
    EXPECT_EQ(read.loops, options.loops);
    EXPECT_EQ(read.halting, options.halting);
    EXPECT_EQ(read.tied_source_embedding, options.tied_source_embedding);
  }
}

}  // namespace
}  // namespace trireme
