// What a rank trains on at once.
#pragma once

#include <cstdint>
#include <vector>

namespace trireme {

// Whether a row is one text, or the documents in it know nothing of one another.
enum class Documents : std::uint8_t { kJoined, kSeparate };

// Rows of tokens and, for each token, the one that follows it: [sequences, tokens_per_sequence], row after
// row.
//
// Where documents are separate, `documents` and `positions` say for each token in which of the row's
// documents it stands, counted from 0, and where in it.  A document is headed by the token that ended the one
// before: so each token of it, the first one too, is predicted from what belongs to it, every target counts,
// and text generated behind such a token is what was learned.  A row may begin inside a document; of that,
// positions are counted from the beginning of the row, too.
//
//     stream     .. a8 a9  E | b0 b1  E | c0 c1 c2 ..     the row begins at a8
//     inputs        a8 a9  E   b0 b1  E   c0 c1
//     targets       a9  E  b0  b1  E  c0  c1 c2
//     documents      0  0  1   1  1   2   2  2
//     positions      0  1  0   1  2   0   1  2
struct Batch {
  std::int64_t first_sample = 0;  // number of row 0 among all samples of the run; the others follow
  std::int64_t sequences = 0;
  std::int64_t tokens_per_sequence = 0;
  std::vector<std::int32_t> inputs;
  std::vector<std::int32_t> targets;
  std::vector<std::int32_t> documents;  // empty where they are joined
  std::vector<std::int32_t> positions;
};

}  // namespace trireme
