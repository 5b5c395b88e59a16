#include "data/scores/ngrams.h"

#include <unordered_map>

namespace trireme {
namespace {

std::int64_t num_ngrams(std::span<const std::string_view> units, std::size_t order) {
  return units.size() < order ? 0 : static_cast<std::int64_t>(units.size() - order + 1);
}

// The n-gram that begins with unit `i`.
std::string_view ngram_at(std::span<const std::string_view> units, std::size_t i, std::size_t order) {
  const std::string_view last = units[i + order - 1];
  return {units[i].data(), static_cast<std::size_t>(last.data() + last.size() - units[i].data())};
}

}  // namespace

NgramMatches match_ngrams(std::span<const std::string_view> hypothesis,
                          std::span<const std::string_view> reference, std::size_t order) {
  NgramMatches result{.hypothesis = num_ngrams(hypothesis, order), .reference = num_ngrams(reference, order)};
  if (result.hypothesis == 0 || result.reference == 0) return result;
  std::unordered_map<std::string_view, std::int64_t> unmatched;  // n-grams of the reference
  for (std::size_t i = 0; i + order <= reference.size(); ++i) ++unmatched[ngram_at(reference, i, order)];
  for (std::size_t i = 0; i + order <= hypothesis.size(); ++i) {
    const auto found = unmatched.find(ngram_at(hypothesis, i, order));
    if (found == unmatched.end() || found->second == 0) continue;
    --found->second;
    ++result.matches;
  }
  return result;
}

}  // namespace trireme
