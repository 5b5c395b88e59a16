// The whole model: gradients, microbatches, masks, the key/value cache.

#include "trainer/model/transformer.h"

#include <vector>

#include <gtest/gtest.h>

#include "kernels/elementwise.h"
#include "parallel/self_communicator.h"
#include "tests/trainer/model/gradient_check.h"

namespace trireme {
namespace {

constexpr std::int64_t kContext = 12;
constexpr std::int64_t kVocabulary = 23;

TransformerOptions small_options() {
  return {.layers = 3,
          .width = 16,
          .heads = 2,
          .kv_heads = 2,
          .head_width = 8,
          .feed_forward = 40,
          .context = kContext,
          .vocabulary = kVocabulary,
          .init_stddev = 0.2F};
}

struct Variant {
  const char* name;
  void (*change)(TransformerOptions&);
};

const Variant kVariants[] = {
    {"gpt2", [](TransformerOptions&) {}},
    {"llama",
     [](TransformerOptions& o) {
       o.heads = 4;
       o.kv_heads = 2;
       o.head_width = 6;
       o.norm = NormKind::kRms;
       o.activation = FeedForward::kSwiglu;
       o.biases = Biases::kNone;
       o.positions = Positions::kRope;
       o.tied_embeddings = false;
     }},
    {"qwen2",
     [](TransformerOptions& o) {
       o.kv_heads = 1;
       o.norm = NormKind::kRms;
       o.activation = FeedForward::kGeglu;
       o.biases = Biases::kQkv;
       o.positions = Positions::kRope;
     }},
    {"paper",
     [](TransformerOptions& o) {
       o.norm_placement = NormPlacement::kPost;
       o.activation = FeedForward::kGelu;
       o.positions = Positions::kSinusoidal;
     }},
    {"alibi",
     [](TransformerOptions& o) {
       o.heads = 3;
       o.kv_heads = 3;
       o.positions = Positions::kAlibi;
       o.activation = FeedForward::kSilu;
     }},
    {"window",
     [](TransformerOptions& o) {
       o.window = 4;
       o.norm_placement = NormPlacement::kPost;
       o.norm = NormKind::kRms;
       o.positions = Positions::kNone;
       o.tied_embeddings = false;
     }},
    {"looped",
     [](TransformerOptions& o) {
       o.layers = 2;
       o.loops = 3;
     }},
    {"looped_paper",
     [](TransformerOptions& o) {
       o.layers = 1;
       o.loops = 2;
       o.norm_placement = NormPlacement::kPost;
       o.positions = Positions::kSinusoidal;
     }},
    {"halting",
     [](TransformerOptions& o) {
       o.layers = 2;
       o.loops = 4;
       o.halting = true;
     }},
    {"halting_paper",
     [](TransformerOptions& o) {
       o.layers = 1;
       o.loops = 3;
       o.halting = true;
       o.norm_placement = NormPlacement::kPost;
       o.activation = FeedForward::kSilu;
       o.positions = Positions::kRope;
     }},
};

class TransformerTest : public ::testing::TestWithParam<Variant> {
 protected:
  static TransformerOptions options() {
    TransformerOptions options = small_options();
    GetParam().change(options);
    return options;
  }
  explicit TransformerTest(std::int64_t batch = 4) : model_(options()), inputs_(48), targets_(48) {
    model_.parameters().initialize(5);
    model_.allocate({.batch = batch, .sequence = kContext, .training = true});
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      inputs_[i] = static_cast<std::int32_t>(i * i * 7 % kVocabulary);
      targets_[i] = static_cast<std::int32_t>((i * 5 + 3) % kVocabulary);
    }
  }

  Tensor tokens(std::vector<std::int32_t>& of, std::int64_t first, std::int64_t batch) {
    return {of.data() + first * kContext, DType::kInt32, {batch, kContext}};
  }
  Pass pass(std::int64_t first, std::int64_t batch, float dropout) {
    return {.batch = batch,
            .sequence = kContext,
            .dropout = {.probability = dropout,
                        .attention_probability = dropout,
                        .seed = 9,
                        .step = 2,
                        .first_sequence = first},
            .ponder_cost = 0.3F};
  }
  double loss(float dropout) {
    float sum = 0.0F;
    model_.forward_loss({&sum, DType::kFloat32, {1}}, tokens(inputs_, 0, 4), tokens(targets_, 0, 4),
                        pass(0, 4, dropout));
    return sum;
  }
  // Gradients of the four sequences, computed `batch` at a time.
  double accumulate(std::int64_t batch, float dropout) {
    fill(model_.parameters().gradients(), 0.0F, Stream());
    float sum = 0.0F;
    for (std::int64_t first = 0; first < 4; first += batch) {
      reducer_.begin(first + batch >= 4);
      model_.forward_backward({&sum, DType::kFloat32, {1}},
                              tokens(inputs_, first, std::min(batch, 4 - first)),
                              tokens(targets_, first, std::min(batch, 4 - first)), 1.0F, reducer_,
                              pass(first, std::min(batch, 4 - first), dropout));
    }
    reducer_.finish(Stream());
    return sum;
  }
  std::vector<float> gradients() {
    const Tensor all = model_.parameters().gradients();
    return {all.data<float>(), all.data<float>() + all.num_elements()};
  }

  Transformer model_;
  SelfCommunicator communicator_;
  GradientReducer reducer_{model_.parameters(), communicator_, 4096};
  std::vector<std::int32_t> inputs_;
  std::vector<std::int32_t> targets_;
};

TEST_P(TransformerTest, GradientsOfEveryParameter) {
  for (const float dropout : {0.0F, 0.2F}) {
    EXPECT_FLOAT_EQ(static_cast<float>(accumulate(4, dropout)), static_cast<float>(loss(dropout)));
    for (const Parameter& parameter : model_.parameters().parameters()) {
      expect_gradient(
          parameter.value, parameter.gradient, [&] { return loss(dropout); }, parameter.name, 2e-2);
    }
  }
}

// The global batch is what counts, however it is cut: masks included.
TEST_P(TransformerTest, MicrobatchesAddUp) {
  for (const float dropout : {0.0F, 0.3F}) {
    const double whole_loss = accumulate(4, dropout);
    const std::vector<float> whole = gradients();
    for (const std::int64_t batch : {1, 2, 3}) {
      EXPECT_NEAR(accumulate(batch, dropout), whole_loss, 1e-5 * whole_loss);
      const std::vector<float> parts = gradients();
      for (std::size_t i = 0; i < whole.size(); ++i) {
        ASSERT_NEAR(parts[i], whole[i], 1e-4 * (1.0F + std::abs(whole[i])))
            << "element " << i << ", batch " << batch;
      }
    }
  }
}

// To the last bit.
TEST_P(TransformerTest, RecomputationChangesNothing) {
  for (const float dropout : {0.0F, 0.3F}) {
    std::vector<float> kept;
    double kept_loss = 0.0;
    for (const Recompute recompute : {Recompute::kNone, Recompute::kSelective, Recompute::kFull}) {
      model_.allocate({.batch = 4, .sequence = kContext, .training = true, .recompute = recompute});
      const double sum = accumulate(3, dropout);
      if (recompute == Recompute::kNone) {
        kept = gradients();
        kept_loss = sum;
      }
      EXPECT_EQ(sum, kept_loss);
      EXPECT_EQ(gradients(), kept) << static_cast<int>(recompute);
    }
  }
}

TEST_P(TransformerTest, DropoutChangesWithStepAndSequence) {
  const double base = loss(0.3F);
  EXPECT_EQ(loss(0.3F), base);
  EXPECT_NE(loss(0.0F), base);
  Pass other = pass(0, 4, 0.3F);
  other.dropout.step = 3;
  float sum = 0.0F;
  model_.forward_loss({&sum, DType::kFloat32, {1}}, tokens(inputs_, 0, 4), tokens(targets_, 0, 4), other);
  EXPECT_NE(sum, base);
}

// Tokens given one by one, in pieces, or all at once lead to the same logits.
TEST_P(TransformerTest, CacheEqualsRecomputation) {
  Transformer model(options());
  model.parameters().initialize(5);
  model.allocate({.batch = 1, .sequence = kContext});
  const auto logits_after = [&](const std::vector<std::int64_t>& pieces) {
    KeyValueCacheMemory memory(model.options(), 1);
    std::vector<float> logits;
    std::int64_t begin = 0;
    for (const std::int64_t length : pieces) {
      Pass piece{.batch = 1, .sequence = length, .cache = &memory.cache()};
      const Tensor result =
          model.next_token_logits({inputs_.data() + begin, DType::kInt32, {1, length}}, piece);
      logits.assign(result.data<float>(), result.data<float>() + kVocabulary);
      begin += length;
    }
    return logits;
  };
  const std::vector<float> whole = logits_after({12});
  for (const auto& pieces :
       std::vector<std::vector<std::int64_t>>{{11, 1}, {5, 7}, std::vector<std::int64_t>(12, 1)}) {
    const std::vector<float> other = logits_after(pieces);
    for (std::size_t v = 0; v < whole.size(); ++v) EXPECT_NEAR(other[v], whole[v], 1e-5);
  }
  // And the cached path is the trained one: its loss on the last position is the model's.
  double sum = 0.0;
  for (const float logit : whole) sum += std::exp(static_cast<double>(logit));
  const double cached_loss = std::log(sum) - whole[static_cast<std::size_t>(targets_[kContext - 1])];
  std::vector<std::int32_t> only_last(kContext, -1);
  only_last.back() = targets_[kContext - 1];
  float direct = 0.0F;
  model.forward_loss({&direct, DType::kFloat32, {1}}, {inputs_.data(), DType::kInt32, {1, kContext}},
                     {only_last.data(), DType::kInt32, {1, kContext}}, {.batch = 1, .sequence = kContext});
  EXPECT_NEAR(direct, cached_loss, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(, TransformerTest, testing::ValuesIn(kVariants),
                         [](const auto& variant) { return std::string(variant.param.name); });

// Floats per row that a block and a slot more keep, as recompute.h has them; but for log-sum-exps and
// moments.
TEST(TransformerActivations, AreWhatRecomputationSays) {
  const auto floats = [](Recompute recompute, std::int64_t layers, std::size_t slots) {
    TransformerOptions options = small_options();
    options.layers = layers;
    options.kv_heads = 1;
    options.activation = FeedForward::kSwiglu;
    ParameterBuffer parameters;
    TransformerStack stack(parameters, options, {.layers = layers}, TensorRanks::alone());
    Arena arena = Arena::measuring();
    stack.allocate(
        arena, {.batch = 64, .sequence = kContext, .training = true, .slots = slots, .recompute = recompute});
    return arena.size_bytes() / (size_bytes(DType::kFloat32) * 64 * kContext);
  };
  constexpr std::int64_t kC = 16, kE = 16, kG = 16 + 2 * 8, kF = 40, kFew = 2 + 4;  // heads' lse, moments
  const auto expect = [&](Recompute recompute, std::int64_t block) {
    EXPECT_EQ(floats(recompute, 5, 1) - floats(recompute, 4, 1), block);
    // Of a slot more there is also what the final norm keeps.
    EXPECT_EQ(floats(recompute, 5, 2) - floats(recompute, 5, 1), 5 * block + 2 * kC + 2);
  };
  expect(Recompute::kNone, 4 * kC + kG + kE + 2 * kF + kF + kFew);
  expect(Recompute::kSelective, 2 * kC + kG + kE + 2 * kF + kFew);
  expect(Recompute::kFull, kC);
}

TEST(TransformerFlops, CountsItsWork) {
  Transformer gpt2({.layers = 12,
                    .width = 768,
                    .heads = 12,
                    .kv_heads = 12,
                    .head_width = 64,
                    .feed_forward = 3072,
                    .context = 1024,
                    .vocabulary = 50257,
                    .init_stddev = 0.02F});
  EXPECT_EQ(gpt2.parameters().num_parameters(), 124439808);
  EXPECT_NEAR(gpt2.flops_per_token(1024), 6.0 * (123653376.0 + 12.0 * 768 * 1024), 1.0);
}

TEST(TransformerFlops, CountsEveryLoop) {
  TransformerOptions options = small_options();
  const double once = Transformer(options).flops_per_token(kContext);
  options.loops = 3;
  const double thrice = Transformer(options).flops_per_token(kContext);
  options.loops = 1;
  options.layers *= 3;
  const double deep = Transformer(options).flops_per_token(kContext);
  EXPECT_GT(thrice, 2.0 * once);
  EXPECT_EQ(thrice, deep) << "as many blocks, with weights of their own";
}

TEST(TransformerOptionsTest, SurvivesJson) {
  for (const Variant& variant : kVariants) {
    TransformerOptions options = small_options();
    variant.change(options);
    const TransformerOptions read = TransformerOptions::from_json(options.to_json(), "test");
    EXPECT_EQ(read.to_json(), options.to_json());
    EXPECT_EQ(read.kv_heads, options.kv_heads);
    EXPECT_EQ(read.norm, options.norm);
    EXPECT_EQ(read.tied_embeddings, options.tied_embeddings);
    EXPECT_EQ(read.loops, options.loops);
    EXPECT_EQ(read.halting, options.halting);
    EXPECT_EQ(read.halting_threshold, options.halting_threshold);
  }
  try {
    TransformerOptions::from_json(R"({"layers": 2})", "somewhere");
    FAIL() << "an incomplete description was accepted";
  } catch (const std::exception& error) {
    EXPECT_NE(std::string(error.what()).find("somewhere: has no key 'width'"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace trireme
