// The likeliest translations that a beam finds.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trainer/model/encoder_decoder.h"

namespace trireme {

// The paper's values (section 6.1), but for the length.
struct BeamOptions {
  std::int64_t beam = 4;  // hypotheses that are followed; 1: always the likeliest next token
  // A translation of n tokens, its end counted, is scored by its log-probability over ((5 + n) / 6)^alpha (Wu
  // et al. 2016): longer ones are preferred as alpha grows.
  double alpha = 0.6;
  // A source of s tokens, its end counted, is given at most max_ratio s + 10, and no more than the model's
  // context: then the translation ends.
  double max_ratio = 2.0;
};

struct Translation {
  std::vector<std::int32_t> tokens;  // without the end
  double log_probability = 0.0;      // with the end
  double score = 0.0;
};

// Translates all sentences at once; sources are without end.  A sentence is done when none of its unfinished
// hypotheses could become better than the best that is finished.
//
// REQUIRES: 1 to context - 1 tokens in each source; a model allocated for sources padded to the longest, and
// for `beam` target tokens a sentence.
std::vector<Translation> beam_search(EncoderDecoder& model,
                                     std::span<const std::vector<std::int32_t>> sources, std::int32_t end,
                                     const BeamOptions& options);

}  // namespace trireme
