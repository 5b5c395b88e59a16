// Cuts text into the words inside which byte pairs are merged.
#pragma once

#include <cstddef>
#include <string_view>

namespace trireme {

// Longer runs are cut, between two characters of UTF-8, so that the work on one word is bounded.
inline constexpr std::size_t kMaxWordBytes = 64;

// The end of the word that begins at `begin`.  A word is a run of letters, of digits, of other marks, with
// the one space before it; or what an apostrophe inside a word begins ("don" "'t"); or a run of white space,
// but for a last space that belongs to what follows.  Bytes above 127 count as letters, so that UTF-8 needs
// no tables and any bytes will do. REQUIRES: begin < text.size().
std::size_t word_end(std::string_view text, std::size_t begin);

// The last place where a word surely ends, whatever follows the text: before white space, after something
// else. 0 if there is none.
std::size_t last_word_border(std::string_view text);

}  // namespace trireme
