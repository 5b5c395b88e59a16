// A vocabulary that is split over ranks.
#pragma once

#include <cstdint>

namespace trireme {

// Of which tokens a table has the rows, or logits the columns: as many as it has, from `first` on.
struct VocabularyPart {
  std::int64_t first = 0;
  std::int64_t whole = 0;  // tokens that there are; 0: those alone
};

}  // namespace trireme
