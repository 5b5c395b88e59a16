// The known name that a mistyped one was meant to be.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// The one of `candidates` that differs from `name` by the fewest inserted, dropped, replaced and swapped
// letters, if those are at most a third of it (and two in a short word); failing that, the shortest that
// `name` abbreviates ("lr" for "learning_rate").  Nothing if no candidate is like it.
std::optional<std::string> nearest(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace trireme
