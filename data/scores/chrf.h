// chrF of a corpus (Popović 2015), the very number that sacreBLEU prints by default: signature
// nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no ("chrF2").
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace trireme {

// What chrF needs of all sentences: plain sums, so that those of parts of a corpus add up to those of the
// whole.
struct ChrfCounts {
  static constexpr std::size_t kMaxOrder = 6;

  std::array<std::int64_t, kMaxOrder> matches{};  // n-grams of 1 .. 6 characters that both have
  std::array<std::int64_t, kMaxOrder>
      hypotheses{};  // n-grams of hypotheses whose reference has any of that length
  std::array<std::int64_t, kMaxOrder> references{};  // n-grams of the references

  // Counts one sentence, without its white space.
  void add(std::string_view hypothesis, std::string_view reference);
};

// Over the orders n for which both sides have n-grams:
//
//     P = mean of matches_n / hypotheses_n,   R = mean of matches_n / references_n
//     chrF = 100 (1 + beta^2) P R / (beta^2 P + R),   beta = 2: recall counts for more
//
// 0 if nothing matches.
double chrf(const ChrfCounts& counts);

}  // namespace trireme
