#include "trainer/config.h"

#include <cmath>
#include <cstddef>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include <toml++/toml.h>

#include "data/user_error.h"
#include "trainer/config_checks.h"
#include "trainer/config_keys.h"
#include "trainer/config_text.h"
#include "trainer/nearest.h"

namespace trireme {
namespace {

// A scalar as the user wrote it, near enough to be recognised, and its type.
std::string shown(const toml::node& node) {
  if (const auto* value = node.as_string()) return toml_string(std::string_view(value->get()).substr(0, 60));
  if (const auto* value = node.as_integer()) return toml_value(value->get());
  if (const auto* value = node.as_floating_point()) return toml_value(value->get());
  if (const auto* value = node.as_boolean()) return toml_value(value->get());
  if (node.is_table()) return "a table";
  if (node.is_array()) return "an array";
  return "a date or time";
}

std::optional<std::size_t> find_key(std::string_view path) {
  const auto& keys = config_keys();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].path == path) return i;
  }
  return std::nullopt;
}

bool is_section(std::string_view name) {
  for (const auto& section : config_sections()) {
    if (section.name == name) return true;
  }
  return false;
}

std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// What to write instead of the unknown section `name`.
std::string remedy_for_section(const std::string& name) {
  std::vector<std::string> sections;
  for (const auto& section : config_sections()) sections.emplace_back(section.name);
  if (const auto near = nearest(name, sections)) return "did you mean [" + *near + "]?";
  return "the sections are " + listed(sections);
}

// The path of the only key of this name; the name itself if there is none, or several.
std::string with_section(const std::string& name) {
  std::string found = name;
  for (const auto& key : config_keys()) {
    if (key.name() != name) continue;
    if (found != name) return name;
    found = key.path;
  }
  return found;
}

// What to write instead of the unknown key `path`.
std::string remedy_for_unknown(const std::string& path) {
  const std::size_t dot = path.find('.');
  const std::string section = path.substr(0, dot);
  const std::string name = dot == std::string::npos ? path : path.substr(dot + 1);
  std::vector<std::string> paths, names, of_section;
  for (const auto& key : config_keys()) {
    paths.push_back(key.path);
    names.push_back(key.name());
    if (key.section() == section) of_section.push_back(key.name());
  }
  // In its own section first: "optim.lr" is no misspelling of another section's key.
  if (const auto near = nearest(name, of_section)) return "did you mean " + section + "." + *near + "?";
  if (const auto near = nearest(path, paths)) return "did you mean " + *near + "?";
  if (const auto near = nearest(name, names)) {
    for (const auto& key : config_keys()) {
      if (key.name() == *near) return "did you mean " + key.path + "?";
    }
  }
  return of_section.empty() ? remedy_for_section(section) : "[" + section + "] has " + listed(of_section);
}

// Fills a Config and remembers where each value was written, so that an error can say it.
class Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)), places_(config_keys().size()) {}

  void read_text(std::string_view text) {
    const toml::table root = parsed(text, name_, [this](std::size_t line) { return place(line); });
    for (const auto& [section, node] : root) {
      const std::string where = place(node.source().begin.line);
      const std::string section_name(section.str());
      if (!is_section(section.str())) refuse_unknown(where, section_name, node);
      const toml::table* table = node.as_table();
      if (table == nullptr) {
        throw UserError(where, section_name + " is a section, not a key", "write [" + section_name + "]");
      }
      for (const auto& [key, value] : *table) {
        set(section_name + "." + std::string(key.str()), value, place(value.source().begin.line));
      }
    }
  }

  void read_override(const std::string& text) {
    const std::string where = "command line: " + escaped(text);
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw UserError(where, "not of the form key=value", "for example optim.learning_rate=3e-4");
    }
    const std::string path = with_section(text.substr(0, equals)), value = text.substr(equals + 1);
    const auto key = find_key(path);
    if (!key) throw UserError(where, "unknown key " + escaped(path), remedy_for_unknown(path));
    set(path, *override_value(config_keys()[*key], value, where), where);
  }

  // REQUIRES: everything is read.
  Config checked() {
    check_required();
    check_together(config_, [this](const ConfigPaths& paths) { return where(paths); });
    return config_;
  }

 private:
  std::string place(std::size_t line) const { return name_ + ":" + std::to_string(line); }

  // `place_of(line)` says where a line is, for errors.
  template <typename PlaceOf>
  static toml::table parsed(std::string_view text, const std::string& name, PlaceOf place_of) {
    try {
      return toml::parse(text, name);
    } catch (const toml::parse_error& error) {
      throw UserError(place_of(error.source().begin.line),
                      "not TOML: " + escaped(error.description()) + " (column " +
                          std::to_string(error.source().begin.column) + ")",
                      "");
    }
  }

  // The value after `=`: TOML if it is, the text itself where a key holds text.
  static std::unique_ptr<toml::node> override_value(const ConfigKey& key, const std::string& text,
                                                    const std::string& where) {
    const bool holds_text = std::holds_alternative<std::string& (*)(Config&)>(key.member);
    const auto single = [&](const std::string& value) -> std::unique_ptr<toml::node> {
      if (value.find('\n') != std::string::npos) return nullptr;  // could set other keys
      try {
        toml::table table = toml::parse("value = " + value);
        toml::node* node = table.get("value");
        if (node->is_string()) return std::make_unique<toml::value<std::string>>(*node->as_string());
        if (holds_text) return nullptr;
        if (node->is_integer()) return std::make_unique<toml::value<std::int64_t>>(*node->as_integer());
        if (node->is_floating_point())
          return std::make_unique<toml::value<double>>(*node->as_floating_point());
        if (node->is_boolean()) return std::make_unique<toml::value<bool>>(*node->as_boolean());
        return nullptr;
      } catch (const toml::parse_error&) {
        return nullptr;
      }
    };
    auto value = single(text);
    if (!value) value = single(toml_string(text));
    if (!value) throw UserError(where, "the value is not UTF-8", "");
    return value;
  }

  [[noreturn]] static void refuse_unknown(const std::string& where, const std::string& path,
                                          const toml::node& node) {
    const bool names_section = node.is_table() && path.find('.') == std::string::npos;
    if (names_section) {
      throw UserError(where, "unknown section [" + escaped(path) + "]", remedy_for_section(path));
    }
    throw UserError(where, "unknown key " + escaped(path), remedy_for_unknown(path));
  }

  void set(const std::string& path, const toml::node& node, const std::string& where) {
    const auto index = find_key(path);
    if (!index) refuse_unknown(where, path, node);
    const ConfigKey& key = config_keys()[*index];
    std::visit([&](auto member) { assign(key, member(config_), node, where); }, key.member);
    places_[*index] = where;
  }

  [[noreturn]] static void refuse(const ConfigKey& key, const std::string& where, const std::string& wanted,
                                  const std::string& got, const std::string& remedy) {
    throw UserError(where, key.path + " must be " + wanted + ", not " + got, remedy);
  }

  static void assign(const ConfigKey& key, std::string& member, const toml::node& node,
                     const std::string& where) {
    const auto* value = node.as_string();
    if (value == nullptr) refuse(key, where, "text", shown(node), "put it in \"quotes\"");
    const std::string& text = value->get();
    if (key.rule.required && text.empty()) refuse(key, where, key.rule.words(), "\"\"", "");
    if (text.find('\0') != std::string::npos) refuse(key, where, "text", shown(node), "");
    if (!key.rule.choices.empty()) {
      bool known = false;
      std::vector<std::string> choices;
      for (const auto choice : key.rule.choices) {
        known = known || choice == text;
        choices.emplace_back(choice);
      }
      const auto near = nearest(text, choices);
      if (!known) {
        refuse(key, where, key.rule.words(), shown(node), near ? "did you mean \"" + *near + "\"?" : "");
      }
    }
    member = text;
  }

  static void assign(const ConfigKey& key, std::int64_t& member, const toml::node& node,
                     const std::string& where) {
    const auto* value = node.as_integer();
    if (value == nullptr) {
      const auto* real = node.as_floating_point();
      const bool whole =
          real != nullptr && std::abs(real->get()) < 1e15 && std::trunc(real->get()) == real->get();
      refuse(key, where, "a whole number", shown(node),
             whole ? "write " + std::to_string(static_cast<std::int64_t>(real->get())) : "");
    }
    check_range(key, static_cast<double>(value->get()), shown(node), where);
    member = value->get();
  }

  static void assign(const ConfigKey& key, double& member, const toml::node& node, const std::string& where) {
    double value = 0;
    if (const auto* real = node.as_floating_point()) {
      value = real->get();
    } else if (const auto* integer = node.as_integer()) {
      value = static_cast<double>(integer->get());
    } else {
      refuse(key, where, "a number", shown(node), "");
    }
    if (!std::isfinite(value)) refuse(key, where, "a finite number", shown(node), "");
    check_range(key, value, shown(node), where);
    member = value;
  }

  static void assign(const ConfigKey& key, bool& member, const toml::node& node, const std::string& where) {
    const auto* value = node.as_boolean();
    if (value == nullptr) refuse(key, where, "true or false", shown(node), "");
    member = value->get();
  }

  static void check_range(const ConfigKey& key, double value, const std::string& got,
                          const std::string& where) {
    const ConfigRule& rule = key.rule;
    const bool low = rule.low_excluded ? value <= rule.low : value < rule.low;
    const bool high = rule.high_excluded ? value >= rule.high : value > rule.high;
    if (high && rule.ceiling)
      refuse(key, where, "at most " + toml_value(static_cast<std::int64_t>(rule.high)), got, "");
    if (low || high) refuse(key, where, rule.words(), got, "");
  }

  // Where the one of these keys was written that is named first and was written at all.
  std::string where(const ConfigPaths& paths) const {
    for (const auto path : paths) {
      const std::string& place = places_[*find_key(path)];
      if (!place.empty()) return place;
    }
    return name_;
  }

  void check_required() {
    for (std::size_t i = 0; i < config_keys().size(); ++i) {
      const ConfigKey& key = config_keys()[i];
      if (!key.rule.required || !places_[i].empty()) continue;
      throw UserError(name_, key.path + " is not set",
                      "write it into the file, or add " + key.path + "=... to the command line");
    }
  }

  std::string name_;
  Config config_;
  std::vector<std::string> places_;  // by index of key; empty: not set
};

}  // namespace

Config parse_config(std::string_view text, const std::string& name,
                    const std::vector<std::string>& overrides) {
  Reader reader(name);
  reader.read_text(text);
  for (const auto& text_of_override : overrides) reader.read_override(text_of_override);
  return reader.checked();
}

Config load_config(const std::string& path, const std::vector<std::string>& overrides) {
  constexpr std::size_t kLargest = 1 << 20;
  std::ifstream file(path, std::ios::binary);
  std::string text(kLargest + 1, '\0');
  // A folder opens, but cannot be read.
  if (!file || (!file.read(text.data(), static_cast<std::streamsize>(text.size())) && !file.eof())) {
    throw UserError(path, "the config file cannot be read", "give the path of a TOML file");
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kLargest) {
    throw UserError(path, "larger than a config file can be (1 MiB)", "give the path of a TOML file");
  }
  return parse_config(text, path, overrides);
}

AttentionLibrary attention_of(const Config& config) {
  if (config.run.attention == "cudnn") return AttentionLibrary::kCudnn;
  // Batches of pairs are of many shapes, of which each would be tried.
  if (config.run.attention == "auto" && config.model.kind != "encoder_decoder")
    return AttentionLibrary::kQuicker;
  return AttentionLibrary::kTrireme;
}

DType dtype_of(const TrainConfig& config) {
  return config.dtype == "bfloat16" ? DType::kBfloat16 : DType::kFloat32;
}

std::int64_t batch_sequences(const Config& config) {
  const TrainConfig& train = config.train;
  return train.batch_sequences > 0 ? train.batch_sequences : train.batch_tokens / config.model.context;
}

}  // namespace trireme
