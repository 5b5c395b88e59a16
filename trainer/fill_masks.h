// The likeliest tokens in the places of masked ones.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "data/tokenizer/tokenizer.h"
#include "trainer/model/masked_language_model.h"

namespace trireme {

// How a text says that a word is to be guessed.
inline constexpr std::string_view kMaskInText = "[MASK]";

// A document of its own, in its tokenizer's frame, and where in it the masks are.
struct MaskedText {
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> places;
};
MaskedText masked_text(std::string_view text, Tokenizer& tokenizer);

struct Guess {
  std::int32_t token = 0;
  double probability = 0.0;
};

// For each place among the tokens, the `count` likeliest, best first.  REQUIRES: a model allocated for one
// sequence of so many tokens, and one prediction.
std::vector<std::vector<Guess>> fill_masks(MaskedLanguageModel& model, std::vector<std::int32_t> tokens,
                                           std::span<const std::int32_t> places, std::int64_t count);

}  // namespace trireme
