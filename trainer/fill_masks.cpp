#include "trainer/fill_masks.h"

#include <algorithm>
#include <cmath>

#include "data/masking.h"
#include "kernels/buffer.h"
#include "kernels/cross_entropy.h"
#include "kernels/host_copy.h"
#include "kernels/top_k.h"
#include "trainer/token_upload.h"

namespace trireme {
namespace {

// Tokens by their logits, best first.
std::vector<Guess> sorted_guesses(std::span<const std::int32_t> tokens, std::span<const float> logits,
                                  float log_sum) {
  std::vector<Guess> guesses;
  for (std::size_t i = 0; i < tokens.size(); ++i)
    guesses.push_back({tokens[i], std::exp(static_cast<double>(logits[i]) - log_sum)});
  std::sort(guesses.begin(), guesses.end(), [](const Guess& a, const Guess& b) {
    return a.probability != b.probability ? a.probability > b.probability : a.token < b.token;
  });
  return guesses;
}

}  // namespace

MaskedText masked_text(std::string_view text, Tokenizer& tokenizer) {
  MaskedText result{.tokens = {tokenizer.frame().begin}, .places = {}};
  for (std::size_t begin = 0;;) {
    const std::size_t end = text.find(kMaskInText, begin);
    tokenizer.encode(text.substr(begin, end - begin), result.tokens);
    if (end == std::string_view::npos) break;
    result.places.push_back(static_cast<std::int32_t>(result.tokens.size()));
    result.tokens.push_back(mask_token_of(tokenizer));
    begin = end + kMaskInText.size();
  }
  result.tokens.push_back(tokenizer.frame().end);
  return result;
}

std::vector<std::vector<Guess>> fill_masks(MaskedLanguageModel& model, std::vector<std::int32_t> tokens,
                                           std::span<const std::int32_t> places, std::int64_t count) {
  const auto length = static_cast<std::int64_t>(tokens.size());
  const Stream stream = model.stream();
  TokenUpload upload(stream);
  const Tensor hidden = model.hidden_states(upload.bring({tokens.data(), DType::kInt32, {1, length}}),
                                            {.batch = 1, .sequence = length, .stream = stream});
  count = std::min(count, model.options().vocabulary);
  const std::int64_t number_bytes = size_bytes(DType::kFloat32);
  const Buffer memory((2 * count + 2) * number_bytes, stream.device());
  const Tensor values = memory.tensor(DType::kFloat32, {1, count});
  const Tensor best = memory.tensor(DType::kInt32, {1, count}, count * number_bytes);
  const Tensor lse_1 = memory.tensor(DType::kFloat32, {1}, 2 * count * number_bytes);
  const Tensor unused_1 = memory.tensor(DType::kFloat32, {1}, (2 * count + 1) * number_bytes);
  std::int32_t any = 0;
  const Tensor target_1 = upload.bring({&any, DType::kInt32, {1}});
  std::vector<std::vector<Guess>> guesses;
  for (std::int32_t place : places) {
    const Tensor logits = model.logits(hidden, upload.bring({&place, DType::kInt32, {1}}), stream);
    top_k(values, best, logits, stream);
    cross_entropy_forward(lse_1, unused_1, /*smoothed_logit_N=*/{}, logits, target_1,
                          /*label_smoothing=*/0.0F, stream);
    guesses.push_back(sorted_guesses(host_copy<std::int32_t>(best, stream), host_copy<float>(values, stream),
                                     host_copy<float>(lse_1, stream).front()));
  }
  return guesses;
}

}  // namespace trireme
