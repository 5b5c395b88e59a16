#include "trainer/layout.h"

#include <algorithm>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include "data/user_error.h"
#include "trainer/config_keys.h"
#include "trainer/config_text.h"
#include "trainer/nearest.h"
#include "trainer/training_engine.h"

namespace trireme {
namespace {

// What has another name in the config.
std::vector<std::pair<std::string, std::string>> short_names(const Config& config) {
  const bool of_pairs = config.model.kind == "encoder_decoder";
  return {{"pp", "parallel.pipeline"},
          {"dp", "parallel.data"},
          {"tp", "parallel.tensor"},
          {"zero", "parallel.zero"},
          {"device", "run.device"},
          {"microbatch", of_pairs ? "train.microbatch_tokens" : "train.microbatch_sequences"}};
}

std::string without_spaces_around(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(' ');
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

// The key that a name without a section stands for.
std::string key_of(const std::string& name, const std::string& where, const Config& config) {
  std::vector<std::string> names;
  for (const auto& [short_name, path] : short_names(config)) {
    if (short_name == name) return path;
    names.push_back(short_name);
  }
  for (const std::string_view section : {"parallel", "train"}) {
    for (const ConfigKey& key : config_keys()) {
      if (key.section() != section) continue;
      if (key.name() == name) return key.path;
      names.push_back(key.name());
    }
  }
  const auto near = nearest(name, names);
  std::string known;
  for (const auto& [short_name, path] : short_names(config)) known += short_name + ", ";
  throw UserError(where, "unknown name " + escaped(name),
                  (near ? "did you mean " + *near + "? There are " : "there are ") + known +
                      "the keys of [parallel] and [train], and others with their section");
}

// "tp=2" as an override of the config.
std::string override_of(const std::string& setting, const std::string& where, const Config& config) {
  const std::size_t equals = setting.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw UserError(where, "\"" + escaped(setting) + "\" is not of the form name=value",
                    "for example pp=2,dp=2");
  }
  const std::string name = without_spaces_around(setting.substr(0, equals));
  const std::string value = without_spaces_around(setting.substr(equals + 1));
  return (name.find('.') == std::string::npos ? key_of(name, where, config) : name) + "=" + value;
}

}  // namespace

Config on_one_rank(const Config& config) {
  Config alone = config;
  alone.parallel = {};
  alone.parallel.data = 1;
  return alone;
}

Config in_layout(const Config& config, const std::string& layout) {
  const std::string where = "layout \"" + escaped(layout) + "\"";
  std::vector<std::string> overrides;
  std::istringstream settings(layout);
  for (std::string setting; std::getline(settings, setting, ',');) {
    overrides.push_back(override_of(without_spaces_around(setting), where, config));
  }
  if (overrides.empty()) throw UserError(where, "is empty", "for example pp=2,dp=2");
  return parse_config(to_toml(on_one_rank(config)), where, overrides);
}

int num_ranks(const Config& config, int ranks_of_job) {
  const MeshShape shape = mesh_shape(config.parallel);
  std::int64_t ranks = 1;
  for (const Axis axis : kAxes) {
    if (shape[axis] == 0) return ranks_of_job;
    ranks = std::min<std::int64_t>(1 << 20, ranks * shape[axis]);
  }
  return static_cast<int>(ranks);
}

}  // namespace trireme
