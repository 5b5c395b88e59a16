// Which tokens a model has to fill in.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/tokenizer/tokenizer.h"

namespace trireme {

// How much is masked, and by what.
struct Masking {
  double probability = 0.15;    // share of a sequence's tokens that are chosen
  std::int32_t mask_token = 0;  // what stands in most of their places
  std::int64_t vocabulary = 0;  // others are replaced by one of these tokens, drawn evenly
  std::uint64_t seed = 0;
};

// Sequences as the model sees them, and what it is to find: BERT's task (Devlin et al. 2019, section 3.1).
// The same number of tokens is chosen of each sequence, so that a step has as many targets however its batch
// is divided.  Of them 80 % become the mask, 10 % some other token, and 10 % stay.
struct MaskedBatch {
  std::vector<std::int32_t> inputs;  // [sequences, tokens_per_sequence]
  std::vector<std::int32_t> rows;    // of the tokens that are chosen: where they stand in `inputs`, ascending
  std::vector<std::int32_t> targets;  // what stood there
};

// The tokenizer's token for what is masked or, if it has none, the number behind its last.
std::int32_t mask_token_of(const Tokenizer& tokenizer);
// The tokens of a model that masks: the tokenizer's, and the mask where that is none of them.
std::int64_t vocabulary_with_mask(const Tokenizer& tokenizer);

// Tokens that are chosen of a sequence of so many: the share, rounded, and at least one.
std::int64_t num_masked(std::int64_t tokens_per_sequence, double probability);

// Masks sequences, one after another, that are the samples from number `first_sample` on.  What becomes of a
// sample is a pure function of the seed and its number.  `tokens` and `batch.inputs` are different memory.
void mask_tokens(std::span<const std::int32_t> tokens, std::int64_t tokens_per_sequence,
                 std::int64_t first_sample, const Masking& masking, MaskedBatch& batch);

}  // namespace trireme
