// BLEU and chrF against sacrebleu's own numbers.
#include <gtest/gtest.h>

#include "data/file.h"
#include "data/json.h"
#include "data/scores/bleu.h"
#include "data/scores/chrf.h"
#include "data/unicode.h"

namespace trireme {
namespace {

Json golden_corpora() {
  const std::string path = std::string(TRIREME_SOURCE_DIR) + "/tests/data/golden/scores.json";
  return parse_json(read_whole_file(path), path);
}

TEST(Scores, AreThoseOfSacrebleu) {
  const Json corpora = golden_corpora();
  ASSERT_GT(corpora.size(), 40u);
  for (const Json& corpus : corpora) {
    SCOPED_TRACE(corpus["name"].get<std::string>());
    BleuCounts bleu_counts;
    ChrfCounts chrf_counts;
    for (std::size_t i = 0; i < corpus["hypotheses"].size(); ++i) {
      const auto hypothesis = corpus["hypotheses"][i].get<std::string>();
      const auto reference = corpus["references"][i].get<std::string>();
      EXPECT_EQ(tokenize_13a(hypothesis), corpus["tokenized"][i].get<std::string>());
      bleu_counts.add(hypothesis, reference);
      chrf_counts.add(hypothesis, reference);
    }
    const Bleu result = bleu(bleu_counts);
    EXPECT_NEAR(result.score, corpus["bleu"].get<double>(), 1e-10);
    for (std::size_t n = 0; n < BleuCounts::kMaxOrder; ++n)
      EXPECT_NEAR(result.precisions[n], corpus["precisions"][n].get<double>(), 1e-10) << n;
    EXPECT_NEAR(result.brevity_penalty, corpus["brevity_penalty"].get<double>(), 1e-12);
    EXPECT_EQ(bleu_counts.hypothesis_tokens, corpus["hypothesis_tokens"].get<std::int64_t>());
    EXPECT_EQ(bleu_counts.reference_tokens, corpus["reference_tokens"].get<std::int64_t>());
    EXPECT_NEAR(chrf(chrf_counts), corpus["chrf"].get<double>(), 1e-10);
  }
}

TEST(Scores, OfNothingAreZero) {
  EXPECT_EQ(bleu({}).score, 0.0);
  EXPECT_EQ(chrf({}), 0.0);
}

TEST(Scores, BrokenUtf8IsScoredAndNoCrash) {
  const std::string broken = "caf\xC3 \xE2\x82 \xFF\xFE ok\xF0\x9F";
  BleuCounts bleu_counts;
  ChrfCounts chrf_counts;
  bleu_counts.add(broken, broken);
  chrf_counts.add(broken, broken);
  EXPECT_NEAR(bleu(bleu_counts).score, 100.0, 1e-10);
  EXPECT_NEAR(chrf(chrf_counts), 100.0, 1e-10);
}

TEST(Unicode, CharactersAndWhiteSpaceAreMeasured) {
  EXPECT_EQ(character_bytes("a"), 1u);
  EXPECT_EQ(character_bytes("é"), 2u);
  EXPECT_EQ(character_bytes("日本"), 3u);
  EXPECT_EQ(character_bytes("😀"), 4u);
  EXPECT_EQ(character_bytes("\xC3"), 1u) << "cut short";
  EXPECT_EQ(character_bytes("\xC0\xAF"), 1u) << "overlong";
  EXPECT_EQ(character_bytes("\xED\xA0\x80"), 1u) << "a surrogate";
  EXPECT_EQ(character_bytes("\xF4\x90\x80\x80"), 1u) << "beyond the last character";
  EXPECT_EQ(white_space_bytes(" x"), 1u);
  EXPECT_EQ(white_space_bytes("\u3000x"), 3u);
  EXPECT_EQ(white_space_bytes("\u200bx"), 0u) << "of no width, and no white space";
  EXPECT_EQ(white_space_bytes(""), 0u);
  EXPECT_EQ(trimmed("\u00a0 a b\u2009\n"), "a b");
  EXPECT_EQ(trimmed(" \t\u2028"), "");
}

}  // namespace
}  // namespace trireme
