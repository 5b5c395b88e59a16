// What the values of a config must be together; each alone is checked where it is read.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/config.h"

namespace trireme {

using ConfigPaths = std::vector<std::string_view>;

// Where the one of these keys was written that is named first and was written at all.
using WhereWritten = std::function<std::string(const ConfigPaths&)>;

// Throws UserError for values that don't go together.
void check_together(const Config& config, const WhereWritten& where);

}  // namespace trireme
