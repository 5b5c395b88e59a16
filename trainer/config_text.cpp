// How a Config is printed; how it is read stands in config.cpp.
#include "trainer/config_text.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <type_traits>
#include <variant>

#include "trainer/config.h"
#include "trainer/config_keys.h"

namespace trireme {
namespace {

std::string value_of(const ConfigKey& key, Config& config) {
  return std::visit([&](auto member) { return toml_value(member(config)); }, key.member);
}

std::string kind_of(const ConfigKey& key) {
  const std::string rule = key.rule.words();
  const std::string kind = std::visit(
      [](auto member) -> std::string {
        using Value = std::remove_reference_t<decltype(member(std::declval<Config&>()))>;
        if constexpr (std::is_same_v<Value, std::string>) return "Text";
        if constexpr (std::is_same_v<Value, std::int64_t>) return "A whole number";
        if constexpr (std::is_same_v<Value, double>) return "A number";
        return "True or false";
      },
      key.member);
  if (key.rule.required) return kind + "; must be set.";
  return kind + (rule.empty() ? "" : ", " + rule) + ".";
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const char letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    if (letter == '"' || letter == '\\') {
      out.append({'\\', letter});
    } else if (letter == '\n') {
      out += "\\n";
    } else if (letter == '\t') {
      out += "\\t";
    } else if (code < 0x20 || code == 0x7f) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\u%04X", code);
      out += hex;
    } else {
      out += letter;
    }
  }
  return out;
}

std::string toml_string(std::string_view text) {
  return "\"" + escaped(text) + "\"";
}

std::string toml_value(const std::string& value) {
  return toml_string(value);
}
std::string toml_value(std::int64_t value) {
  return std::to_string(value);
}
std::string toml_value(bool value) {
  return value ? "true" : "false";
}

std::string toml_value(double value) {
  char digits[32];
  std::string text(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
  if (!std::isfinite(value)) return text;
  const std::size_t exponent = text.find('e');
  if (exponent == std::string::npos) return text.find('.') == std::string::npos ? text + ".0" : text;
  // "6e-05" reads better as "6e-5".
  if (text.size() > exponent + 2 && text[exponent + 2] == '0') text.erase(exponent + 2, 1);
  return text;
}

std::string to_toml(const Config& config) {
  Config copy = config;
  std::string text, section;
  for (const auto& key : config_keys()) {
    if (key.section() != section) {
      section = key.section();
      text += (text.empty() ? "[" : "\n[") + section + "]\n";
    }
    text += key.name() + " = " + value_of(key, copy) + "\n";
  }
  return text;
}

std::string reference_toml() {
  Config defaults;
  std::string text =
      "# Every key of a Trireme config, with its default.  A config needs only those that differ, besides\n"
      "# run.directory, data.path and one of train.batch_sequences and train.batch_tokens.  Each can also "
      "be\n"
      "# set on the command line: trireme train CONFIG optim.learning_rate=3e-4\n";
  for (const auto& section : config_sections()) {
    text += "\n# " + std::string(section.sentence) + "\n[" + std::string(section.name) + "]\n";
    for (const auto& key : config_keys()) {
      if (key.section() != section.name) continue;
      text += "\n# " + std::string(key.sentence) + "\n# " + kind_of(key) + "\n";
      text += key.name() + " = " + value_of(key, defaults) + "\n";
    }
  }
  return text;
}

std::string config_help() {
  Config defaults;
  std::string text;
  for (const auto& section : config_sections()) {
    text += "  " + std::string(section.sentence) + "\n";
    for (const auto& key : config_keys()) {
      if (key.section() != section.name) continue;
      const std::string rule = key.rule.words();
      text += "    " + key.path + " = " + value_of(key, defaults) + "\n        " + std::string(key.sentence) +
              (key.rule.required ? " Must be set."
               : rule.empty()    ? ""
                                 : " (" + rule + ")") +
              "\n";
    }
  }
  return text;
}

}  // namespace trireme
