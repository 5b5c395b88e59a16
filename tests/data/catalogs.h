// Binary message catalogs for tests, as msgfmt of GNU gettext makes them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace trireme {

using Message = std::pair<std::string, std::string>;  // original, translation

inline void put_number(std::string& bytes, std::size_t offset, std::uint32_t number, bool swapped) {
  if (swapped) number = __builtin_bswap32(number);
  if (bytes.size() < offset + sizeof(number)) bytes.resize(offset + sizeof(number));
  std::memcpy(bytes.data() + offset, &number, sizeof(number));
}

// The header, the table of originals, the table of translations, then the strings, each with a zero byte
// behind it.
inline std::string binary_catalog(const std::vector<Message>& messages, bool swapped) {
  constexpr std::size_t kHeaderBytes = 28;
  const std::size_t table_bytes = 8 * messages.size();
  std::string bytes;
  const std::size_t end = kHeaderBytes + 2 * table_bytes;
  const std::size_t numbers[] = {0x950412DE, 0,  messages.size(), kHeaderBytes, kHeaderBytes + table_bytes,
                                 0,          end};
  for (const std::size_t number : numbers)
    put_number(bytes, bytes.size(), static_cast<std::uint32_t>(number), swapped);
  bytes.resize(end);
  for (std::size_t i = 0; i < 2 * messages.size(); ++i) {
    const Message& message = messages[i % messages.size()];
    const std::string& text = i < messages.size() ? message.first : message.second;
    put_number(bytes, kHeaderBytes + 8 * i, static_cast<std::uint32_t>(text.size()), swapped);
    put_number(bytes, kHeaderBytes + 8 * i + 4, static_cast<std::uint32_t>(bytes.size()), swapped);
    bytes += text + '\0';
  }
  return bytes;
}

}  // namespace trireme
