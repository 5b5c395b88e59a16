// Many sentences to translate, and how good translations are.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/pair_dataset.h"
#include "data/scores/bleu.h"
#include "data/scores/chrf.h"
#include "data/tokenizer/tokenizer.h"
#include "parallel/communicator.h"
#include "trainer/beam_search.h"

namespace trireme {

// In batches of like lengths; translations come in the order of the sources.  A source without tokens has a
// translation without any.  `tokens` is what the model is allocated for on either side.  REQUIRES: at most
// context - 1 tokens in a source; `tokens` is at least the context, and the beam.
std::vector<Translation> translate(EncoderDecoder& model, std::span<const std::vector<std::int32_t>> sources,
                                   std::int32_t end, const BeamOptions& options, std::int64_t tokens);

struct TranslationScores {
  BleuCounts bleu;
  ChrfCounts chrf;
};

// Translates the first `pairs` sources of the split, or all that it has, divided among the ranks, and
// compares with the targets as text.  The same on every rank.
TranslationScores score_translations(EncoderDecoder& model, PairDataset& data, const Tokenizer& tokenizer,
                                     std::int64_t pairs, const BeamOptions& options, std::int64_t tokens,
                                     Communicator& data_axis);

}  // namespace trireme
