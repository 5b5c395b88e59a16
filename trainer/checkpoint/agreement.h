// What the ranks tell each other around a checkpoint, so that all of them always decide alike.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace trireme {

// root's text.
std::string broadcast_text(const std::string& text, int root, Communicator& communicator);

// The numbers of all ranks, in rank order.  REQUIRES: the same count on every rank.
std::vector<std::uint64_t> gather_numbers(const std::vector<std::uint64_t>& numbers,
                                          Communicator& communicator);

// Runs `action` on every rank.  If files fail it on some (UserError, or an exception of std::filesystem),
// returns on all what the first of them says; nothing if all is well.
std::optional<std::string> attempt(const std::function<void()>& action, Communicator& communicator);

}  // namespace trireme
