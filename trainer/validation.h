// What a validation finds.
#pragma once

#include <optional>

#include "trainer/attention_entropy.h"

namespace trireme {

struct Validation {
  double loss = 0.0;  // mean, in nats per token, without dropout or smoothing
  std::optional<double> bleu = std::nullopt;
  std::optional<double> accuracy = std::nullopt;    // share of masked tokens whose likeliest guess is right
  std::optional<double> mean_loops = std::nullopt;  // of a position, where they halt by themselves
  AttentionEntropies attention_entropies = {};
};

}  // namespace trireme
