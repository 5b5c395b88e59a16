#include "trainer/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <glog/logging.h>

#include "kernels/host_copy.h"
#include "kernels/rng.h"
#include "trainer/token_upload.h"

namespace trireme {

std::int32_t sample(std::span<const float> logits, const SamplingOptions& options, std::uint64_t draw) {
  std::vector<std::int32_t> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  const auto logit = [&](std::int32_t token) { return logits[static_cast<std::size_t>(token)]; };
  const auto likelier = [&](std::int32_t a, std::int32_t b) {
    return logit(a) != logit(b) ? logit(a) > logit(b) : a < b;
  };
  if (options.temperature <= 0.0) return *std::min_element(tokens.begin(), tokens.end(), likelier);

  if (options.top_k > 0 && options.top_k < static_cast<std::int64_t>(tokens.size())) {
    std::nth_element(tokens.begin(), tokens.begin() + options.top_k, tokens.end(), likelier);
    tokens.resize(static_cast<std::size_t>(options.top_k));
  }
  std::sort(tokens.begin(), tokens.end(), likelier);
  std::vector<double> weights;
  weights.reserve(tokens.size());
  double sum = 0.0;
  for (const std::int32_t token : tokens) {
    weights.push_back(std::exp((logit(token) - logit(tokens.front())) / options.temperature));
    sum += weights.back();
  }
  if (options.top_p < 1.0) {
    double kept = 0.0;
    std::size_t count = 0;
    while (count < weights.size() && kept < options.top_p * sum) kept += weights[count++];
    weights.resize(std::max<std::size_t>(1, count));
    sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  }
  double left = static_cast<double>(uniform(philox(options.seed, draw)[0])) * sum;
  for (std::size_t i = 0; i + 1 < weights.size(); ++i) {
    left -= weights[i];
    if (left < 0.0) return tokens[i];
  }
  return tokens[weights.size() - 1];
}

void generate(Transformer& model, std::vector<std::int32_t> prompt, std::int64_t max_tokens,
              const SamplingOptions& options, const std::function<bool(std::int32_t)>& emit) {
  CHECK(!prompt.empty());
  const std::int64_t context = model.options().context;
  KeyValueCacheMemory memory(model.options(), /*batch=*/1, model.stream().device());
  TokenUpload upload(model.stream());
  KeyValueCache& cache = memory.cache();
  std::vector<std::int32_t>& text = prompt;
  auto unread = static_cast<std::int64_t>(text.size());  // tokens at the end of the text that the cache lacks
  for (std::int64_t i = 0; i < max_tokens; ++i) {
    if (cache.length + unread > context) {
      cache.length = 0;
      unread = std::min(static_cast<std::int64_t>(text.size()), std::max<std::int64_t>(1, context / 2));
    }
    const Tensor tokens(text.data() + text.size() - unread, DType::kInt32, {1, unread});
    upload.begin();
    const Tensor logits = model.next_token_logits(
        upload.bring(tokens), {.batch = 1, .sequence = unread, .cache = &cache, .stream = model.stream()});
    const std::int64_t num_tokens = options.vocabulary > 0 ? options.vocabulary : logits.dim(1);
    const auto row = host_copy<float>(logits.slice(1, 0, num_tokens), model.stream());
    text.push_back(sample(row, options, static_cast<std::uint64_t>(i)));
    unread = 1;
    if (!emit(text.back())) return;
  }
}

}  // namespace trireme
