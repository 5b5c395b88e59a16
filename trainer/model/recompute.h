// What of a block's activations is kept from forward to backward, and what is computed again.
#pragma once

#include <cstdint>
#include <string_view>

namespace trireme {

// Per block and row of the residual stream, kept besides a few numbers, with C wide rows, G = (H + 2 K) D
// wide queries, keys and values, E = H D wide heads, and a feed-forward network of width F (P = F before its
// activation, 2 F if that is gated); pre-norm, without cross-attention:
//
//     none        4 C + G + E + P + F   everything
//     selective   2 C + G + E + P       what costs a matrix product, or is attention; norms' outputs and the
//                                       activated hidden units are made again from it: elementwise work
//     full        C                     what enters the block, which runs forward again before it runs
//     backward
//                                       (but for its last matrix product): up to a third more work
//
// Post-norm the block's output is kept where pre-norm its input is: in `selective` beside the sums of all
// norms.  What isn't kept is memory that all blocks and slots share.  Gradients are the same bits in each:
// dropout masks are drawn by their place, so they are found again.
enum class Recompute : std::uint8_t { kNone, kSelective, kFull };

// "none", "selective" or "full".
Recompute recompute_of(std::string_view name);

}  // namespace trireme
