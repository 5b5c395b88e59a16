#include "trainer/fill_masks.h"

#include <algorithm>
#include <cmath>

#include "data/masking.h"
#include "kernels/host_copy.h"
#include "trainer/token_upload.h"

namespace trireme {
namespace {

std::vector<Guess> likeliest(std::span<const float> logits, std::int64_t count) {
  std::vector<Guess> guesses;
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) {
    guesses.push_back({static_cast<std::int32_t>(guesses.size()), std::exp(logit - highest)});
    sum += guesses.back().probability;
  }
  const auto kept = std::min(static_cast<std::size_t>(count), guesses.size());
  std::partial_sort(guesses.begin(), guesses.begin() + static_cast<std::ptrdiff_t>(kept), guesses.end(),
                    [](const Guess& a, const Guess& b) {
                      return a.probability != b.probability ? a.probability > b.probability
                                                            : a.token < b.token;
                    });
  guesses.resize(kept);
  for (Guess& guess : guesses) guess.probability /= sum;
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
  std::vector<std::vector<Guess>> guesses;
  for (std::int32_t place : places) {
    const Tensor logits = model.logits(hidden, upload.bring({&place, DType::kInt32, {1}}), stream);
    guesses.push_back(likeliest(host_copy<float>(logits, stream), count));
  }
  return guesses;
}

}  // namespace trireme
