// A stream of bytes, line by line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "data/byte_stream.h"

namespace trireme {

class LineReader {
 public:
  explicit LineReader(ByteStream& stream) : stream_(stream) {}

  // The next line with its '\n', or a part of one that is longer than `limit`; false at the end.  The line is
  // valid until the next call.
  bool next(std::string_view& line, std::size_t limit);

 private:
  bool take(std::size_t size, std::string_view& line);

  ByteStream& stream_;
  std::string buffer_;
  std::size_t begin_ = 0;  // of what has not been handed out
  bool at_end_ = false;
};

// Without its end, "\n" or "\r\n".
std::string_view without_line_end(std::string_view line);

}  // namespace trireme
