// Adaptive computation time of rows: the mean of each row's states, by weights that its halting decides.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/reference/array.h"

namespace trireme::reference {

struct Halting {
  Array mean, remainder;
  Tokens loops;                // by row, how many it ran
  std::vector<Array> states;   // by loop: copied where a row has halted
  std::vector<Array> weights;  // by loop
};
// `made` is what each loop made of the rows, n times c; `logits` n of each loop.
Halting halting(const std::vector<Array>& made, const std::vector<Array>& logits, double threshold,
                std::int64_t n, std::int64_t c);

struct HaltingGradients {
  std::vector<Array> dmade, dlogits;
};
// Of dmean . mean + dremainder . remainder + the sum over loops of dstates . states.
HaltingGradients halting_backward(const Array& dmean, const Array& dremainder,
                                  const std::vector<Array>& dstates, const std::vector<Array>& made,
                                  const std::vector<Array>& logits, double threshold, std::int64_t n,
                                  std::int64_t c);

}  // namespace trireme::reference
