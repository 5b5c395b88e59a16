// JSON, as our files have it.  The one file that includes the parser; for .cpp files, as it is slow to
// compile.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include <nlohmann/json.hpp>

#include "data/user_error.h"

namespace trireme {

using Json = nlohmann::ordered_json;  // keys stay in the order in which they were set
// Finds a key in logarithmic time, for objects of many: a vocabulary in a Json takes minutes.
using LargeJson = nlohmann::json;

// `where` names the file (and row) in errors.
template <typename AnyJson = Json>
AnyJson parse_json(std::string_view text, const std::string& where) {
  try {
    return AnyJson::parse(text);
  } catch (const typename AnyJson::parse_error& error) {
    throw UserError(where, "is not valid JSON (byte " + std::to_string(error.byte) + ")",
                    "correct it or write it again");
  }
}

// The member `key` of an object: a std::string, std::int64_t, double, bool, or the type of `object` itself
// for an array or object.  Missing or of another type: a UserError.
template <typename T, typename AnyJson>
T json_value(const AnyJson& object, const char* key, const std::string& where) {
  const auto member = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || member == object.end())
    throw UserError(where, std::string("has no key '") + key + "'", "correct it or write it again");
  bool fits = true;
  if constexpr (std::is_same_v<T, std::string>) fits = member->is_string();
  if constexpr (std::is_same_v<T, std::int64_t>) fits = member->is_number_integer();
  if constexpr (std::is_same_v<T, double>) fits = member->is_number();
  if constexpr (std::is_same_v<T, bool>) fits = member->is_boolean();
  if constexpr (std::is_same_v<T, AnyJson>) fits = member->is_structured();
  if (!fits)
    throw UserError(where, std::string("key '") + key + "' has a value of the wrong type",
                    "correct it or write it again");
  return member->template get<T>();
}

}  // namespace trireme
