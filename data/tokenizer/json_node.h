// Reading a tokenizer's JSON so that errors name the place.  For .cpp files, as data/json.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "data/json.h"

namespace trireme {

// A value in the file, with the way to it for errors: "model.merges[3]".
class JsonNode {
 public:
  JsonNode(const LargeJson& json, std::string path, const std::string& where)
      : json_(json), path_(std::move(path)), where_(where) {}

  [[noreturn]] void fail(const std::string& what, const std::string& remedy) const {
    throw UserError(where_, (path_.empty() ? "the file" : "key '" + path_ + "'") + " " + what, remedy);
  }
  [[noreturn]] void fail_broken(const std::string& what) const { fail(what, "bring back a good copy"); }
  [[noreturn]] void fail_unsupported() const {
    const std::string value = json_.dump(-1, ' ', false, LargeJson::error_handler_t::replace);
    fail("is " + (value.size() > 80 ? value.substr(0, 80) + "..." : value) + ", which is not supported",
         "use another tokenizer, or train one");
  }

  const LargeJson& json() const { return json_; }
  const std::string& where() const { return where_; }
  const std::string& path() const { return path_; }

  // The member; null if it is missing.
  JsonNode operator[](const char* key) const {
    static const LargeJson kNull;
    if (!json_.is_object()) fail_broken("is no object");
    const auto member = json_.find(key);
    return {member == json_.end() ? kNull : *member, path_.empty() ? key : path_ + "." + key, where_};
  }
  JsonNode operator[](std::size_t index) const {
    return {json_[index], path_ + "[" + std::to_string(index) + "]", where_};
  }
  // Of an array; 0 if it is missing.
  std::size_t size() const {
    if (!json_.is_array() && !json_.is_null()) fail_broken("is no array");
    return json_.size();
  }
  bool is_null() const { return json_.is_null(); }
  bool flag(bool if_missing = false) const {
    if (json_.is_null()) return if_missing;
    if (!json_.is_boolean()) fail_broken("is neither true nor false");
    return json_.get<bool>();
  }
  const std::string& text() const {
    if (!json_.is_string()) fail_broken("is no text");
    return json_.get_ref<const std::string&>();
  }
  std::int32_t token_number() const {
    if (!json_.is_number_integer() || json_ < 0 || json_ >= std::int64_t{1} << 24)
      fail_broken("is no number of a token");
    return json_.get<std::int32_t>();
  }
  bool is_one_of(std::initializer_list<const char*> texts) const {
    return json_.is_string() &&
           std::any_of(texts.begin(), texts.end(), [&](const char* t) { return json_ == t; });
  }

 private:
  const LargeJson& json_;
  std::string path_;
  const std::string& where_;
};

}  // namespace trireme
