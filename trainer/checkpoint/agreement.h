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

// Runs `action` on this rank.  If files fail it (UserError, or an exception of std::filesystem), returns what
// it says, and which rank it was if there are others.
std::optional<std::string> failure_of(const std::function<void()>& action, const Communicator& communicator);

// The failure of the first rank that has one; nothing if none has.
std::optional<std::string> agree_on(const std::optional<std::string>& failure, Communicator& communicator);

// Runs `action` on every rank, and returns on all the failure of the first one.
std::optional<std::string> attempt(const std::function<void()>& action, Communicator& communicator);

}  // namespace trireme
