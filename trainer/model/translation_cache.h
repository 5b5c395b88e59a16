// What the decoder remembers while a batch of sentences is translated.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/arena.h"
#include "trainer/model/encoder_decoder.h"

namespace trireme {

// Of each sentence the keys and values of its source, which all its hypotheses share; of each hypothesis
// those of the tokens that it has so far.  Row s beam + h is hypothesis h of sentence s.
class TranslationCache {
 public:
  // Reads the sentences; hypotheses are empty, and may get up to `max_tokens` tokens.
  TranslationCache(EncoderDecoder& model, Tensor sources_BS, Tensor source_lengths_B, std::int64_t beam,
                   std::int64_t max_tokens);

  std::int64_t sentences() const { return memory_.batch; }
  std::int64_t length() const { return cache_.length; }  // tokens of each hypothesis

  // As EncoderDecoder::decode, of the next token of each row.
  Tensor decode(Tensor tokens_N);

  // Row i goes on from what was row parents[i].  Sentence i is what was sentence sentences[i], of which there
  // may be fewer than before.  REQUIRES: `sentences` ascend; a parent of a row is of its sentence.
  void select(std::span<const std::int64_t> parents, std::span<const std::int64_t> sentences);

 private:
  void resize(std::int64_t sentences);

  EncoderDecoder& model_;
  std::int64_t beam_;
  std::optional<Arena> arena_;
  std::vector<KeyValueCache::Layer> layers_;  // of all rows that there were at first
  std::vector<KeyValueCache::Layer> spare_;   // select() writes here, then the two are swapped
  std::vector<Tensor> memory_BSG_;
  Tensor documents_BS_;
  Tensor query_documents_BT_;

  KeyValueCache cache_;
  Memory memory_;
};

}  // namespace trireme
