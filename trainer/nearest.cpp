#include "trainer/nearest.h"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace trireme {
namespace {

// Optimal string alignment: Levenshtein's distance with a swap of neighbours as one edit.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    before_last.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

// Whether `name` starts as `word` does and its letters occur in `word` in this order.
bool abbreviates(std::string_view name, std::string_view word) {
  if (name.empty() || word.empty() || name[0] != word[0]) return false;
  std::size_t matched = 0;
  for (const char letter : word) {
    if (matched < name.size() && name[matched] == letter) ++matched;
  }
  return matched == name.size();
}

}  // namespace

std::optional<std::string> nearest(std::string_view name, const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongestName = 100;  // nobody mistypes more; keeps the cost of garbage small
  if (name.size() > kLongestName) return std::nullopt;

  const std::string* closest = nullptr;
  std::size_t fewest = std::max<std::size_t>(name.size() / 3, 2) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(name, candidate);
    // A word that shares no letter with the name is not like it, however short both are.
    if (distance < fewest && distance < std::max(name.size(), candidate.size())) {
      fewest = distance;
      closest = &candidate;
    }
  }
  if (closest != nullptr) return *closest;

  std::size_t shortest = std::numeric_limits<std::size_t>::max();
  for (const std::string& candidate : candidates) {
    if (candidate.size() < shortest && abbreviates(name, candidate)) {
      shortest = candidate.size();
      closest = &candidate;
    }
  }
  return closest != nullptr ? std::optional<std::string>(*closest) : std::nullopt;
}

}  // namespace trireme
