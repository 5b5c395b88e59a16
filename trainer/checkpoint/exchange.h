// How the elements of a vector get from the ranks that hold pieces of it to those that write slices of it,
// and from those that read slices to all that hold pieces.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/slices.h"

namespace trireme {

// All ranks call these two, with the same windows.  If something goes wrong on some, in `take` or `fill`
// (which throw UserError or an exception of std::filesystem) or as said here, all stop after that round
// and return what the first of them says.

// Gives this rank's slice to `take`, one window after the other: what the ranks own, and zeros in the gaps
// between the parameters of `layout`.  Fails where an element of a parameter has no owner or several, and
// where a rank's copy is not what the owner has.
std::optional<std::string> gather_slices(const CheckpointTensor& tensor,
                                         const std::vector<CheckpointEntry>& layout,
                                         const SliceWindows& windows,
                                         const std::function<void(std::span<const float>)>& take,
                                         Communicator& communicator);

// Fills the pieces of all ranks, owned ones and copies, from their slices, of which `fill` reads one window
// after the other: these elements of the whole.
std::optional<std::string> scatter_slices(const CheckpointTensor& tensor, const SliceWindows& windows,
                                          const std::function<void(const FlatRange&, std::span<float>)>& fill,
                                          Communicator& communicator);

}  // namespace trireme
