// Draws the next token of texts.
#pragma once

#include <cstdint>

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// How the next token is drawn from the model's probabilities.
struct SamplingOptions {
  double temperature = 1.0;  // divides the logits; 0: always the likeliest token
  std::int64_t top_k = 0;    // only the k likeliest; 0: all
  double top_p = 1.0;        // only the fewest whose probabilities add up to p (Holtzman et al. 2020)
  std::uint64_t seed = 0;
  // Only tokens below are drawn, where the tokenizer has fewer than the model; 0: all.
  std::int64_t vocabulary = 0;
};

// tokens[n] (int32) is drawn from logits[n], which are as those of kernels/top_k.h; of a row of NaN alone it
// is 0.  `draw` counts the draws under one seed, each of which is an independent number; row n takes that of
// draw + n.  Tokens share [0, 1) by their probabilities, the likeliest first, equal ones in their order: the
// one is drawn in whose part the row's number lies.
//
// Probabilities are counted in units of 2^-38 of the largest one.  Sums of them are exact, in any order, so
// that devices differ only where an exponential's last bits decide.  REQUIRES: V <= kMaxOrderedVocabulary.
void sample_tokens(Tensor tokens_N, Tensor logits_NV, const SamplingOptions& options, std::uint64_t draw,
                   Stream stream);

}  // namespace trireme
