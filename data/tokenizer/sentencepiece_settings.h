// What a SentencePiece model says about its text, which the library doesn't tell.
#pragma once

#include <optional>
#include <string_view>

namespace trireme {

struct SentencePieceSettings {
  bool has_rules = false;    // of normalization
  bool adds_prefix = true;   // a space before the text
  bool trims_spaces = true;  // at both ends, and all but one of those in a row
  bool marks_spaces = true;  // writes them as U+2581
};

// Reads the protocol buffer.  Nothing if it is none, or lacks one of its three parts.
std::optional<SentencePieceSettings> read_sentencepiece_settings(std::string_view model);

}  // namespace trireme
