// BLEU of a corpus (Papineni, Roukos, Ward, Zhu 2002): the very number that sacreBLEU prints by default (Post
// 2018, "A Call for Clarity in Reporting BLEU Scores"): signature
// nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trireme {

// What BLEU needs of all sentences: plain sums, so that those of parts of a corpus add up to those of the
// whole.
struct BleuCounts {
  static constexpr std::size_t kMaxOrder = 4;

  std::array<std::int64_t, kMaxOrder> matches{};  // n-grams of 1 .. 4 tokens that are in the reference, too
  std::array<std::int64_t, kMaxOrder> totals{};   // n-grams of the hypotheses
  std::int64_t hypothesis_tokens = 0;
  std::int64_t reference_tokens = 0;

  // Counts one sentence.  An n-gram matches at most as often as the reference has it.
  void add(std::string_view hypothesis, std::string_view reference);
};

struct Bleu {
  double score = 0.0;                                      // 0 .. 100
  std::array<double, BleuCounts::kMaxOrder> precisions{};  // 0 .. 100
  double brevity_penalty = 0.0;                            // 0 .. 1
};

//     p_n   = 100 matches_n / totals_n;  where matches_n is 0: 100 / (2^k totals_n), k counting such orders
//     bp    = min(1, exp(1 - reference_tokens / hypothesis_tokens))
//     score = bp (p_1 p_2 p_3 p_4)^(1/4)
//
// 0 if nothing matches at all, or if no sentence has four tokens.
Bleu bleu(const BleuCounts& counts);

// A sentence in tokens, parted by one space: the tokenizer of mteval-v13a.pl as sacreBLEU has it.  Four XML
// entities are resolved; ASCII marks stand alone, but for points and commas between digits, apostrophes, and
// dashes not behind a digit.  What is not ASCII is not looked at, but for its white space.
std::string tokenize_13a(std::string_view sentence);

}  // namespace trireme
