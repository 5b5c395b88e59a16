// A part of a corpus that fits into memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trireme {

// Keeps every piece as long as they fit, then a random half, a quarter ... of them: a fair choice among all
// pieces, made in one pass, and the same each time.
class TextSample {
 public:
  explicit TextSample(std::int64_t max_bytes) : max_bytes_(max_bytes) {}

  void add(std::string_view piece);
  // In the order of the corpus.
  const std::vector<std::pair<std::uint64_t, std::string>>& pieces() const { return pieces_; }
  std::int64_t size_bytes() const { return bytes_; }
  bool is_whole() const { return limit_ == ~std::uint64_t{0}; }

 private:
  std::int64_t max_bytes_;
  std::int64_t bytes_ = 0;
  std::uint64_t num_seen_ = 0;
  std::uint64_t limit_ = ~std::uint64_t{0};                    // pieces with a larger number are left out
  std::vector<std::pair<std::uint64_t, std::string>> pieces_;  // each with its random number
};

}  // namespace trireme
