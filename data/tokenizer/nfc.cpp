#include "data/tokenizer/nfc.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

#include <glog/logging.h>
#include <utf8proc.h>

namespace trireme {
namespace {

bool is_ascii(char c) {
  return static_cast<unsigned char>(c) < 0x80;
}

void append_nfc(std::string_view text, std::string& composed) {
  utf8proc_uint8_t* result = nullptr;
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                 static_cast<utf8proc_ssize_t>(text.size()), &result,
                                 static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owned(result, &std::free);
  CHECK_GE(size, 0) << utf8proc_errmsg(size);
  composed.append(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
}

}  // namespace

// A character of ASCII never joins the one before it, so that only runs of others, each with the one
// character before it, can change.
std::string to_nfc(std::string_view text) {
  std::string composed;
  composed.reserve(text.size());
  for (auto begin = text.begin(); begin != text.end();) {
    auto other = std::find_if_not(begin, text.end(), is_ascii);
    if (other != begin && other != text.end()) --other;
    composed.append(begin, other);
    const auto end = other == text.end() ? other : std::find_if(other + 1, text.end(), is_ascii);
    if (other != end) append_nfc({&*other, static_cast<std::size_t>(end - other)}, composed);
    begin = end;
  }
  return composed;
}

}  // namespace trireme
