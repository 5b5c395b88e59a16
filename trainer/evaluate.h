// The loss on held-out text.
#pragma once

#include <cstdint>
#include <functional>

#include "data/batch.h"
#include "data/token_dataset.h"
#include "parallel/communicator.h"
#include "trainer/attention_entropy.h"
#include "trainer/loop_count.h"
#include "trainer/model/transformer.h"

namespace trireme {

// Mean cross-entropy in nats per token over the first `sequences` windows of the split, or all that it has,
// divided among the ranks; without dropout.  The same on every rank.  REQUIRES: the split holds at least one
// window (check_length), and the model is allocated for passes of `microbatch` sequences of its whole
// context.
double evaluate_loss(Transformer& model, TokenDataset& data, Documents documents, std::int64_t sequences,
                     std::int64_t microbatch, Communicator& data_axis);
// The same of a model that is called through `forward_loss`: see Transformer::forward_loss.
using ForwardLoss = std::function<void(Tensor loss_1, const TextTensors& text, const Pass& pass)>;
double evaluate_loss(const ForwardLoss& forward_loss, std::int64_t context, TokenDataset& data,
                     Documents documents, std::int64_t sequences, std::int64_t microbatch,
                     Communicator& data_axis, Stream stream);

// How far attention is spread over the first `sequences` windows, or all that there are; none for 0.
AttentionEntropies evaluate_attention(Transformer& model, TokenDataset& data, Documents documents,
                                      std::int64_t sequences, Communicator& data_axis);

}  // namespace trireme
