#include "data/scores/bleu.h"

#include <cmath>
#include <vector>

#include "data/scores/ngrams.h"
#include "data/unicode.h"

namespace trireme {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_point(char c) {
  return c == '.' || c == ',';
}
// ASCII marks, but for . , - and the apostrophe.
bool is_lone_mark(char c) {
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
         (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

std::string with_spaces_around_marks(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (is_lone_mark(c)) {
      out += {' ', c, ' '};
    } else {
      out += c;
    }
  }
  return out;
}

// Wherever two neighbours, read from the left and each byte used once, fit the two predicates, they become
// BEFORE first BETWEEN second AFTER.  The rules look at ASCII only, so bytes do for characters.
template <typename First, typename Second>
std::string with_spaces(std::string_view text, First is_first, Second is_second, std::string_view before,
                        std::string_view after) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool fits = i + 1 < text.size() && is_first(text[i]) && is_second(text[i + 1]);
    if (!fits) {
      out += text[i];
      continue;
    }
    out += before;
    out += text[i];
    out += ' ';
    out += text[++i];
    out += after;
  }
  return out;
}

// The words of `text`, joined by one space.
std::string with_single_spaces(std::string_view text) {
  std::string out;
  bool in_space = false;
  while (!text.empty()) {
    const std::size_t space = white_space_bytes(text);
    const std::size_t size = space > 0 ? space : character_bytes(text);
    if (space == 0) {
      if (in_space && !out.empty()) out += ' ';
      out += text.substr(0, size);
    }
    in_space = space > 0;
    text.remove_prefix(size);
  }
  return out;
}

std::vector<std::string_view> words_of(std::string_view tokenized) {
  std::vector<std::string_view> words;
  while (!tokenized.empty()) {
    const std::size_t size = std::min(tokenized.find(' '), tokenized.size());
    words.push_back(tokenized.substr(0, size));
    tokenized.remove_prefix(std::min(size + 1, tokenized.size()));
  }
  return words;
}

}  // namespace

std::string tokenize_13a(std::string_view sentence) {
  std::string text(without_trailing_space(sentence));
  replace_all(text, "<skipped>", "");
  replace_all(text, "-\n", "");
  replace_all(text, "\n", " ");
  replace_all(text, "&quot;", "\"");
  replace_all(text, "&amp;", "&");
  replace_all(text, "&lt;", "<");
  replace_all(text, "&gt;", ">");
  text = with_spaces_around_marks(" " + text + " ");
  const auto is_no_digit = [](char c) { return !is_digit(c); };
  text = with_spaces(text, is_no_digit, is_point, "", " ");
  text = with_spaces(text, is_point, is_no_digit, " ", "");
  text = with_spaces(
      text, is_digit, [](char c) { return c == '-'; }, "", " ");
  return with_single_spaces(text);
}

void BleuCounts::add(std::string_view hypothesis, std::string_view reference) {
  const std::string hypothesis_text = tokenize_13a(hypothesis);
  const std::string reference_text = tokenize_13a(reference);
  const std::vector<std::string_view> hypothesis_words = words_of(hypothesis_text);
  const std::vector<std::string_view> reference_words = words_of(reference_text);
  for (std::size_t n = 0; n < kMaxOrder; ++n) {
    const NgramMatches ngrams = match_ngrams(hypothesis_words, reference_words, n + 1);
    matches[n] += ngrams.matches;
    totals[n] += ngrams.hypothesis;
  }
  hypothesis_tokens += static_cast<std::int64_t>(hypothesis_words.size());
  reference_tokens += static_cast<std::int64_t>(reference_words.size());
}

Bleu bleu(const BleuCounts& counts) {
  Bleu result;
  const auto hypothesis_tokens = static_cast<double>(counts.hypothesis_tokens);
  const auto reference_tokens = static_cast<double>(counts.reference_tokens);
  result.brevity_penalty = hypothesis_tokens >= reference_tokens ? 1.0
                           : hypothesis_tokens > 0.0 ? std::exp(1.0 - reference_tokens / hypothesis_tokens)
                                                     : 0.0;
  if (counts.matches[0] == 0) return result;  // and so no longer n-gram matches

  double smoothing = 1.0;
  double log_sum = 0.0;
  for (std::size_t n = 0; n < BleuCounts::kMaxOrder; ++n) {
    if (counts.totals[n] == 0) return result;
    const auto total = static_cast<double>(counts.totals[n]);
    if (counts.matches[n] == 0) smoothing *= 2.0;
    result.precisions[n] = counts.matches[n] == 0 ? 100.0 / (smoothing * total)
                                                  : 100.0 * static_cast<double>(counts.matches[n]) / total;
    log_sum += std::log(result.precisions[n]);
  }
  result.score = result.brevity_penalty * std::exp(log_sum / BleuCounts::kMaxOrder);
  return result;
}

}  // namespace trireme
