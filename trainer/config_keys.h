// The keys of a config, as data: reading, checking, printing and help all walk this one table.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "trainer/config.h"

namespace trireme {

// What a value may be, beyond its type.
struct ConfigRule {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_excluded = false;
  bool high_excluded = false;
  bool ceiling = false;  // `high` only keeps sizes from overflowing: not worth a word until it is passed
  std::vector<std::string_view> choices = {};  // of a string; empty: any string
  bool required = false;                       // of a string: not empty

  // In words, to follow "must be": "above 0", "one of stop, skip"; empty if there is nothing to say.
  std::string words() const;
};

struct ConfigKey {
  // Where the value lies in a Config; the default is what it is in a fresh one.
  using Member = std::variant<std::string& (*)(Config&), std::int64_t& (*)(Config&), double& (*)(Config&),
                              bool& (*)(Config&)>;

  std::string path;  // section.name
  Member member;
  ConfigRule rule;
  std::string_view sentence;

  std::string section() const { return path.substr(0, path.find('.')); }
  std::string name() const { return path.substr(path.find('.') + 1); }
};

struct ConfigSection {
  std::string_view name;
  std::string_view sentence;
};

// In the order in which they are printed; keys of a section are neighbours.
const std::vector<ConfigKey>& config_keys();
// REQUIRES: one of them has this path.
const ConfigKey& config_key(std::string_view path);
const std::vector<ConfigSection>& config_sections();

}  // namespace trireme
