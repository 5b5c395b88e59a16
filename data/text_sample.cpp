#include "data/text_sample.h"

#include "data/random.h"

namespace trireme {

void TextSample::add(std::string_view piece) {
  const std::uint64_t number = random_at(0, num_seen_++);
  if (number > limit_) return;
  pieces_.emplace_back(number, piece);
  bytes_ += static_cast<std::int64_t>(piece.size());
  while (bytes_ > max_bytes_ && pieces_.size() > 1) {
    limit_ /= 2;
    std::erase_if(pieces_, [&](const auto& kept) {
      if (kept.first <= limit_) return false;
      bytes_ -= static_cast<std::int64_t>(kept.second.size());
      return true;
    });
  }
}

}  // namespace trireme
