// Unicode's canonical composition.  The one pair of files that knows utf8proc.
#pragma once

#include <string>
#include <string_view>

namespace trireme {

// The text in Normalization Form C (UAX 15) of Unicode 15.  The `tokenizers` package goes by Unicode 13: it
// doesn't order marks that are newer.  REQUIRES: the text is UTF-8.
std::string to_nfc(std::string_view text);

}  // namespace trireme
