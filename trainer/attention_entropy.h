// How far the attention of each head is spread, on held-out data.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/model/attention_observer.h"

namespace trireme {

// In nats, by kind of attention (AttentionKind), layer and head.  A layer that is gone through several times
// counts as several.
struct AttentionEntropies {
  std::array<std::vector<std::vector<double>>, kNumAttentionKinds> layers;

  bool empty() const;
};

// Of sequences 0 .. count - 1, divided among the ranks: means over each sequence's queries, and of these over
// the sequences.  pass(i, observer) sends sequence i, alone and without padding, through the model.  As each
// is computed by itself, the result depends on the model alone, and not on how many ranks there are; it is
// the same on each.
AttentionEntropies mean_attention_entropies(std::int64_t count,
                                            const std::function<void(std::int64_t, AttentionObserver&)>& pass,
                                            Communicator& data_axis);

}  // namespace trireme
