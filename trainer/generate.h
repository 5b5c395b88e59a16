// Continues a text token by token.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/sampling.h"
#include "trainer/model/transformer.h"

namespace trireme {

// Calls `emit` with each of up to `max_tokens` new tokens until it returns false.  Keys and values are
// cached; when the context is full, its later half is kept and read again.  REQUIRES: a prompt of at least
// one token, and a model allocated for one sequence of its whole context.
void generate(Transformer& model, std::vector<std::int32_t> prompt, std::int64_t max_tokens,
              const SamplingOptions& options, const std::function<bool(std::int32_t)>& emit);

}  // namespace trireme
