// Bytes as text for JSON (RFC 4648, with padding).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trireme {

std::string to_base64(std::string_view bytes);
// Nothing if the text is no Base64.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace trireme
