// How well held-out tokens are filled in.
#pragma once

#include <cstdint>

#include "data/batch.h"
#include "data/masking.h"
#include "data/token_dataset.h"
#include "parallel/communicator.h"
#include "trainer/attention_entropy.h"
#include "trainer/loop_count.h"
#include "trainer/model/masked_language_model.h"
#include "trainer/token_upload.h"

namespace trireme {

// A masking as the model takes it; the batch's own memory, which is only read.
MaskedTokens tensors_of(const MaskedBatch& batch, TokenUpload& upload);

// The masking of validation: the same at every step and in every run of a tokenizer.
Masking validation_masking(const Tokenizer& tokenizer, double probability);

struct MaskedScore {
  double loss = 0.0;      // mean cross-entropy in nats per masked token
  double accuracy = 0.0;  // share of them whose likeliest guess is right
};

// Over the first `sequences` windows of the split, or all that it has, divided among the ranks; without
// dropout. The same on every rank.  REQUIRES: the split holds at least one window (check_length), and the
// model is allocated for passes of `microbatch` sequences of its whole context, and their masked tokens.
// `loops` as of evaluate_loss().
MaskedScore evaluate_masked(MaskedLanguageModel& model, TokenDataset& data, const Masking& masking,
                            Documents documents, std::int64_t sequences, std::int64_t microbatch,
                            Communicator& data_axis, LoopCount* loops = nullptr);

// How far attention is spread over the first `sequences` masked windows, or all that there are; none for 0.
AttentionEntropies evaluate_attention(MaskedLanguageModel& model, TokenDataset& data, const Masking& masking,
                                      Documents documents, std::int64_t sequences, Communicator& data_axis);

}  // namespace trireme
