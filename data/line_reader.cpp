#include "data/line_reader.h"

#include <span>

namespace trireme {
namespace {

constexpr std::size_t kBytesAtOnce = std::size_t{1} << 20;

}  // namespace

bool LineReader::next(std::string_view& line, std::size_t limit) {
  std::size_t searched = 0;
  for (;;) {
    const std::size_t newline = buffer_.find('\n', begin_ + searched);
    if (newline != std::string::npos) return take(newline + 1 - begin_, line);
    searched = buffer_.size() - begin_;
    if (searched >= limit) return take(searched, line);
    if (at_end_) return searched > 0 && take(searched, line);
    buffer_.erase(0, begin_);
    begin_ = 0;
    const std::size_t old_size = buffer_.size();
    buffer_.resize(old_size + kBytesAtOnce);
    const std::size_t count = stream_.read(std::span(buffer_).subspan(old_size));
    at_end_ = count < kBytesAtOnce;
    buffer_.resize(old_size + count);
  }
}

bool LineReader::take(std::size_t size, std::string_view& line) {
  line = std::string_view(buffer_).substr(begin_, size);
  begin_ += size;
  return true;
}

std::string_view without_line_end(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace trireme
