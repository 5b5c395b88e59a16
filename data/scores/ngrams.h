// How many n-grams two sentences share: what BLEU and chrF are made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace trireme {

struct NgramMatches {
  std::int64_t hypothesis = 0;  // n-grams of the hypothesis
  std::int64_t reference = 0;
  std::int64_t matches = 0;  // sum over different n-grams of the smaller of the two counts
};

// Of `order` units each, tokens or characters.  REQUIRES: the units of a sentence are views into one string,
// in order, and whatever lies between two of them is the same everywhere and in no unit, so that equal
// stretches of the string are equal n-grams.
NgramMatches match_ngrams(std::span<const std::string_view> hypothesis,
                          std::span<const std::string_view> reference, std::size_t order);

}  // namespace trireme
