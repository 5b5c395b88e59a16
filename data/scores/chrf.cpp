#include "data/scores/chrf.h"

#include <string>
#include <vector>

#include "data/scores/ngrams.h"
#include "data/unicode.h"

namespace trireme {
namespace {

constexpr double kBetaSquared = 4.0;

std::string without_white_space(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t space = white_space_bytes(text);
    const std::size_t size = space > 0 ? space : character_bytes(text);
    if (space == 0) out += text.substr(0, size);
    text.remove_prefix(size);
  }
  return out;
}

std::vector<std::string_view> characters_of(std::string_view text) {
  std::vector<std::string_view> characters;
  while (!text.empty()) {
    characters.push_back(text.substr(0, character_bytes(text)));
    text.remove_prefix(characters.back().size());
  }
  return characters;
}

}  // namespace

void ChrfCounts::add(std::string_view hypothesis, std::string_view reference) {
  const std::string hypothesis_text = without_white_space(hypothesis);
  const std::string reference_text = without_white_space(reference);
  const std::vector<std::string_view> hypothesis_characters = characters_of(hypothesis_text);
  const std::vector<std::string_view> reference_characters = characters_of(reference_text);
  for (std::size_t n = 0; n < kMaxOrder; ++n) {
    const NgramMatches ngrams = match_ngrams(hypothesis_characters, reference_characters, n + 1);
    matches[n] += ngrams.matches;
    references[n] += ngrams.reference;
    if (ngrams.reference > 0) hypotheses[n] += ngrams.hypothesis;
  }
}

double chrf(const ChrfCounts& counts) {
  double precision = 0.0;  // sums, then means
  double recall = 0.0;
  int num_orders = 0;
  for (std::size_t n = 0; n < ChrfCounts::kMaxOrder; ++n) {
    if (counts.hypotheses[n] == 0 || counts.references[n] == 0) continue;
    precision += static_cast<double>(counts.matches[n]) / static_cast<double>(counts.hypotheses[n]);
    recall += static_cast<double>(counts.matches[n]) / static_cast<double>(counts.references[n]);
    ++num_orders;
  }
  if (precision + recall == 0.0) return 0.0;
  precision /= num_orders;
  recall /= num_orders;
  return 100.0 * (1.0 + kBetaSquared) * precision * recall / (kBetaSquared * precision + recall);
}

}  // namespace trireme
