// Values as TOML text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace trireme {

// Text with quotes, control characters escaped.
std::string toml_string(std::string_view text);

// The same without the quotes around it: always one line, for messages.
std::string escaped(std::string_view text);

// Reads back to the same value; a double always has a point or an exponent.
std::string toml_value(const std::string& value);
std::string toml_value(std::int64_t value);
std::string toml_value(double value);
std::string toml_value(bool value);

}  // namespace trireme
