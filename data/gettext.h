// Message catalogs of GNU gettext: .mo, made for programs, and .po, made for translators.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "data/byte_stream.h"

namespace trireme {

// The original of an entry and its translation; either may be empty.  Of an entry with plural forms, the
// singular and the first form.
using OnMessage = std::function<void(std::string_view original, std::string_view translation)>;

// Entries that are in a .po file, but not meant to be used.
struct UnusedMessages {
  std::int64_t fuzzy = 0;     // marked as guesses of a tool
  std::int64_t obsolete = 0;  // commented out, as the program no longer has them
};

// Contexts (msgctxt) and the header, which is the entry without a name, are left out.  `where` names the file
// in UserErrors.
//
// Files of both byte orders.  Refused: another magic number or version, tables or strings that reach beyond
// the file.
void read_mo(ByteStream& stream, const std::string& where, const OnMessage& on_message);
// A line that is no .po is refused by its number.
UnusedMessages read_po(ByteStream& stream, const std::string& where, const OnMessage& on_message);

}  // namespace trireme
