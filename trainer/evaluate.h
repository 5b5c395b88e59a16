// The loss on held-out text.
#pragma once

#include <cstdint>

#include "data/token_dataset.h"
#include "parallel/communicator.h"
#include "trainer/model/transformer.h"

namespace trireme {

// How many of `wanted` sequences of `sequence` tokens the data holds: at least 1.  Throws UserError when it holds none.
std::int64_t available_sequences(const TokenDataset& data, std::int64_t sequence, std::int64_t wanted);

// Mean cross-entropy in nats per token over the first `sequences` sequences of the data, in order, divided among the
// ranks; without dropout.  REQUIRES: the model is allocated for passes of `microbatch` sequences of `sequence` tokens.
double evaluate_loss(Transformer& model, TokenDataset& data, std::int64_t sequences, std::int64_t sequence,
                     std::int64_t microbatch, Communicator& data_axis);

}  // namespace trireme
