// Continues a text token by token.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "trainer/model/transformer.h"

namespace trireme {

// How the next token is drawn from the model's probabilities.
struct SamplingOptions {
  double temperature = 1.0;  // divides the logits; 0: always the likeliest token
  std::int64_t top_k = 0;    // only the k likeliest; 0: all
  double top_p = 1.0;        // only the fewest whose probabilities add up to p (Holtzman et al. 2020)
  std::uint64_t seed = 0;
  std::int64_t vocabulary =
      0;  // only tokens below are drawn, where the tokenizer has fewer than the model; 0: all
};

// Draws from logits [V]; `draw` counts the draws under one seed, each of which is an independent number.
std::int32_t sample(std::span<const float> logits, const SamplingOptions& options, std::uint64_t draw);

// Calls `emit` with each of up to `max_tokens` new tokens until it returns false.  Keys and values are
// cached; when the context is full, its later half is kept and read again.  REQUIRES: a prompt of at least
// one token, and a model allocated for one sequence of its whole context.
void generate(Transformer& model, std::vector<std::int32_t> prompt, std::int64_t max_tokens,
              const SamplingOptions& options, const std::function<bool(std::int32_t)>& emit);

}  // namespace trireme
