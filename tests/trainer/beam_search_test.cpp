// Translations against what the model says of them without cache or beam.

#include "trainer/beam_search.h"

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "trainer/translate.h"

namespace trireme {
namespace {

constexpr std::int32_t kEnd = 0;
using Tokens = std::vector<std::int32_t>;

TransformerOptions small_options(std::int64_t vocabulary, std::int64_t context) {
  return {.kind = ModelKind::kEncoderDecoder,
          .layers = 2,
          .encoder_layers = 2,
          .width = 16,
          .heads = 4,
          .kv_heads = 2,
          .head_width = 6,
          .feed_forward = 40,
          .context = context,
          .vocabulary = vocabulary,
          .norm_placement = NormPlacement::kPre,
          .positions = Positions::kRope,
          .init_stddev = 0.5F};
}

TransformerOptions paper_options(std::int64_t vocabulary, std::int64_t context) {
  TransformerOptions options = small_options(vocabulary, context);
  options.kv_heads = 4;
  options.norm_placement = NormPlacement::kPost;
  options.activation = FeedForward::kRelu;
  options.positions = Positions::kSinusoidal;
  return options;
}

TransformerOptions halting_options(std::int64_t vocabulary, std::int64_t context) {
  TransformerOptions options = small_options(vocabulary, context);
  options.layers = options.encoder_layers = 1;
  options.loops = 3;
  options.halting = true;
  return options;
}

class BeamSearchTest : public ::testing::Test {
 protected:
  void make_model(const TransformerOptions& options, std::uint64_t seed) {
    model_ = std::make_unique<EncoderDecoder>(options);
    model_->parameters().initialize(seed);
    model_->allocate({.source_tokens = 4096, .target_tokens = 4096});
  }

  // The log-probability of the tokens from `first` on, each given those before; all of it recomputed.
  double log_probability(Tokens source, Tokens target, std::size_t first = 0) {
    source.push_back(kEnd);
    Tokens inputs = {kEnd};
    inputs.insert(inputs.end(), target.begin(), target.end() - 1);
    for (std::size_t t = 0; t < first; ++t) target[t] = -1;
    Tokens length = {static_cast<std::int32_t>(source.size())};
    const auto row = [](Tokens& tokens) {
      return Tensor(tokens.data(), DType::kInt32, {1, static_cast<std::int64_t>(tokens.size())});
    };
    float loss = 0.0F;
    model_->forward_loss({&loss, DType::kFloat32, {1}},
                         {.sources_BS = row(source),
                          .source_lengths_B = {length.data(), DType::kInt32, {1}},
                          .target_inputs_BT = row(inputs),
                          .target_outputs_BT = row(target)},
                         {});
    return -loss;
  }
  double log_probability_to_end(const Tokens& source, Tokens target) {
    target.push_back(kEnd);
    return log_probability(source, target);
  }

  std::unique_ptr<EncoderDecoder> model_;
};

double score_of(double log_probability, std::size_t tokens, double alpha) {
  return log_probability / std::pow((5.0 + static_cast<double>(tokens)) / 6.0, alpha);
}

// A beam that follows everything finds the best of all translations.
TEST_F(BeamSearchTest, EqualsExhaustiveSearch) {
  constexpr std::int32_t kVocabulary = 5;
  constexpr std::size_t kMost = 4;  // tokens, with the end: the context
  const std::vector<Tokens> sources = {{1, 2, 3}, {4}, {3, 1}, {2, 2}, {1}};
  std::vector<Tokens> all = {{}};
  for (std::size_t begin = 0, length = 1; length < kMost; ++length) {
    const std::size_t end = all.size();
    for (; begin < end; ++begin) {
      for (std::int32_t token = 1; token < kVocabulary; ++token) {
        all.push_back(all[begin]);
        all.back().push_back(token);
      }
    }
  }
  ASSERT_EQ(all.size(), 1U + 4 + 16 + 64);
  int different = 0;
  for (const std::uint64_t seed : {1, 2, 3}) {
    make_model(small_options(kVocabulary, kMost), seed);
    for (const double alpha : {0.0, 0.6, 3.0}) {
      const auto found = beam_search(*model_, sources, kEnd, {.beam = 400, .alpha = alpha});
      const auto narrow = beam_search(*model_, sources, kEnd, {.beam = 1, .alpha = alpha});
      for (std::size_t i = 0; i < sources.size(); ++i) {
        double best = -std::numeric_limits<double>::infinity();
        Tokens best_tokens;
        for (const Tokens& target : all) {
          const double score = score_of(log_probability_to_end(sources[i], target), target.size() + 1, alpha);
          if (score > best) {
            best = score;
            best_tokens = target;
          }
        }
        EXPECT_EQ(found[i].tokens, best_tokens);
        EXPECT_NEAR(found[i].score, best, 1e-5 * std::abs(best));
        different += narrow[i].tokens != best_tokens ? 1 : 0;
      }
    }
  }
  EXPECT_GT(different, 5) << "a greedy search finds as much: nothing is shown";
}

// What the cache leads to is what the model says of the whole translation at once; and neither company nor
// order matters.
TEST_F(BeamSearchTest, CacheEqualsRecomputation) {
  std::vector<Tokens> sources;
  for (std::int32_t i = 0; i < 17; ++i) {
    Tokens& source = sources.emplace_back();
    for (std::int32_t s = 0; s < i * 7 % 12; ++s) source.push_back(1 + (i + s * s) % 28);
  }
  for (const TransformerOptions& shape :
       {small_options(29, 24), paper_options(29, 24), halting_options(29, 24)}) {
    make_model(shape, 5);
    for (const std::int64_t beam : {1, 2, 4, 7}) {
      const BeamOptions options{.beam = beam, .alpha = 0.8};
      const auto found = translate(*model_, sources, kEnd, options, 60);
      ASSERT_EQ(found.size(), sources.size());
      for (std::size_t i = 0; i < sources.size(); ++i) {
        if (sources[i].empty()) {
          EXPECT_TRUE(found[i].tokens.empty());
          continue;
        }
        const double expected = log_probability_to_end(sources[i], found[i].tokens);
        EXPECT_NEAR(found[i].log_probability, expected, 1e-4 * std::abs(expected)) << i;
        EXPECT_NEAR(found[i].score, score_of(expected, found[i].tokens.size() + 1, 0.8), 1e-4);
        const auto alone = beam_search(*model_, std::span(&sources[i], 1), kEnd, options);
        EXPECT_EQ(alone[0].tokens, found[i].tokens) << i;
      }
    }
  }
}

TEST_F(BeamSearchTest, ABeamOfOneTakesTheLikeliestToken) {
  constexpr std::int32_t kVocabulary = 13;
  make_model(small_options(kVocabulary, 24), 6);
  const Tokens source = {3, 9, 4, 4};
  const auto found = beam_search(*model_, std::span(&source, 1), kEnd, {.beam = 1});
  Tokens whole = found[0].tokens;
  ASSERT_GT(whole.size(), 1U);
  whole.push_back(kEnd);
  const bool is_cut = whole.size() == 20;  // 2 * 5 + 10: the end was no choice
  for (std::size_t t = 0; t < whole.size() - (is_cut ? 1 : 0); ++t) {
    Tokens begin(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(t + 1));
    const double chosen = log_probability(source, begin, t);
    for (std::int32_t token = 0; token < kVocabulary; ++token) {
      begin.back() = token;
      EXPECT_LE(log_probability(source, begin, t), chosen + 1e-5) << t;
    }
  }
}

TEST_F(BeamSearchTest, TranslationsHaveTheLengthThatIsAllowed) {
  make_model(small_options(13, 24), 7);
  // A model that never wants to end.
  const Tokens source = {3, 9, 4, 4};
  for (const double ratio : {0.0, 1.0, 9.0}) {
    const auto found =
        beam_search(*model_, std::span(&source, 1), kEnd, {.beam = 3, .alpha = 40.0, .max_ratio = ratio});
    EXPECT_LE(found[0].tokens.size() + 1, std::min(24U, static_cast<unsigned>(5 * ratio) + 10U));
    EXPECT_TRUE(std::isfinite(found[0].score));
  }
}

}  // namespace
}  // namespace trireme
