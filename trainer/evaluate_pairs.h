// The loss on held-out pairs.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "data/pair_batch.h"
#include "data/pair_dataset.h"
#include "parallel/communicator.h"
#include "trainer/attention_entropy.h"
#include "trainer/loop_count.h"
#include "trainer/model/encoder_decoder.h"
#include "trainer/token_upload.h"

namespace trireme {

// The batch's own memory, which is only read.
PairTensors tensors_of(const PairBatch& batch, TokenUpload& upload);

// Tokens of the longest side of any pair, its end counted; 0 if there is no pair.
std::int64_t longest_sentence(const PairDataset& data);
// Throws the UserError for a split that is empty, or has a sentence that is longer than the context.
void check_pairs(const PairDataset& data, std::int64_t context);

// The numbers of pairs 0 .. count - 1, those of like lengths together, in batches of B pairs that, padded to
// their longest side, have at most `tokens` tokens.  REQUIRES: no sentence is longer.
std::vector<std::vector<std::uint32_t>> batches_of_like_length(std::span<const PairLengths> lengths,
                                                               std::int64_t tokens);

// Mean cross-entropy in nats per target token (ends counted) over the first `pairs` of the split, or all that
// it has, divided among the ranks; without dropout.  The same on every rank.  REQUIRES: check_pairs, and a
// model allocated for `tokens` tokens on either side, at least longest_sentence().
double evaluate_pairs(EncoderDecoder& model, PairDataset& data, std::int64_t pairs, std::int64_t tokens,
                      Communicator& data_axis);
// The same of a model that is called through `forward_loss`: see EncoderDecoder::forward_loss.
using ForwardLossOfPairs = std::function<void(Tensor loss_1, const PairTensors& pairs, const Pass& pass)>;
double evaluate_pairs(const ForwardLossOfPairs& forward_loss, PairDataset& data, std::int64_t pairs,
                      std::int64_t tokens, Communicator& data_axis, Stream stream);

// How far attention is spread over the first `pairs` of the split, or all that it has; none for 0.
AttentionEntropies evaluate_attention(EncoderDecoder& model, PairDataset& data, std::int64_t pairs,
                                      Communicator& data_axis);

}  // namespace trireme
