#include "trainer/readable.h"

#include <array>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdio>

namespace trireme {
namespace {

template <typename... Values>
std::string printed(const char* format, Values... values) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), format, values...);
  return text.data();
}

}  // namespace

std::string readable_count(double count) {
  if (!std::isfinite(count)) return "-";
  const char* unit = "";
  for (const char* larger : {"k", "M", "G", "T"}) {
    if (std::abs(count) < 999.5) break;
    count /= 1000;
    unit = larger;
  }
  if (*unit == '\0') return printed("%.0f", count);
  return printed(std::abs(count) < 9.995   ? "%.2f%s"
                 : std::abs(count) < 99.95 ? "%.1f%s"
                                           : "%.0f%s",
                 count, unit);
}

std::string readable_bytes(double count) {
  std::string text = readable_count(count);
  const bool has_unit = !text.empty() && std::isalpha(static_cast<unsigned char>(text.back())) != 0;
  text.insert(has_unit ? text.size() - 1 : text.size(), " ");
  return text + "B";
}

std::string readable_duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e11) return "-";
  const auto whole = static_cast<long long>(std::llround(seconds));
  constexpr long long kMinute = 60, kHour = 3600, kDay = 86400;
  if (whole < kMinute) return printed("%llds", whole);
  if (whole < kHour) return printed("%lldm %02llds", whole / kMinute, whole % kMinute);
  if (whole < kDay) return printed("%lldh %02lldm", whole / kHour, whole % kHour / kMinute);
  return printed("%lldd %02lldh", whole / kDay, whole % kDay / kHour);
}

std::string readable_share(double share) {
  return std::isfinite(share) ? printed("%.0f%%", 100 * share) : "-";
}

std::string readable_number(double value, int significant_digits) {
  const bool tiny = value != 0 && std::abs(value) < 1e-3;
  std::string text =
      tiny ? printed("%.*e", significant_digits - 1, value) : printed("%#.*g", significant_digits, value);
  const std::size_t exponent = text.find('e');
  std::string tail;
  if (exponent != std::string::npos) {
    tail = "e" + std::to_string(std::stoi(text.substr(exponent + 1)));
    text.resize(exponent);
    while (text.back() == '0' && text.find('.') != std::string::npos) text.pop_back();
  }
  if (text.back() == '.') text.pop_back();
  return text + tail;
}

}  // namespace trireme
