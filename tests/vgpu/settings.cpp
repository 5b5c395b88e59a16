#include "tests/vgpu/settings.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>

#include "tests/vgpu/report.h"

namespace trireme::vgpu {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

uint64_t number(const char* name, uint64_t otherwise, uint64_t lowest, uint64_t highest) {
  const std::string value = variable(name);
  if (value.empty()) return otherwise;
  char* end = nullptr;
  const uint64_t number = std::strtoull(value.c_str(), &end, 10);
  if (*end || number < lowest || number > highest)
    refuse(text(name, "=", value, ": give a number from ", lowest, " to ", highest));
  return number;
}

// Of the variable's two values the first is the default.
bool is_second(const char* name, const std::string& first, const std::string& second) {
  const std::string value = variable(name);
  if (!value.empty() && value != first && value != second)
    refuse(text(name, "=", value, ": give '", first, "' or '", second, "'"));
  return value == second;
}

// Only checks that are opinions about a program which can go on may be switched off.
bool may_be_ignored(Finding finding) {
  switch (finding) {
    case Finding::kUninitialisedRegister:
    case Finding::kUninitialisedShared:
    case Finding::kUninitialisedGlobal:
    case Finding::kSharedRace:
    case Finding::kGlobalRace:
    case Finding::kMissingEvent:
    case Finding::kMissingWait:
    case Finding::kLeak:
      return true;
    default:
      return false;
  }
}

uint32_t ignored_findings() {
  const std::string names = variable("TRIREME_VGPU_IGNORE");
  uint32_t ignored = 0;
  for (size_t begin = 0; begin < names.size();) {
    const size_t end = std::min(names.find(',', begin), names.size());
    const std::string name = names.substr(begin, end - begin);
    const Finding finding = finding_by_name(name);
    if (finding == Finding::kCount || !may_be_ignored(finding))
      refuse(text("TRIREME_VGPU_IGNORE=", names, ": '", name, "' is no finding that can be ignored"));
    ignored |= 1u << static_cast<int>(finding);
    begin = end + 1;
  }
  return ignored;
}

Settings from_environment() {
  Settings s;
  const uint64_t cores = std::max(1u, std::thread::hardware_concurrency());
  s.num_devices = static_cast<int>(number("TRIREME_VGPU_DEVICES", 1, 1, 8));
  s.num_threads = static_cast<int>(number("TRIREME_VGPU_THREADS", cores, 1, 256));
  s.memory_bytes = number("TRIREME_VGPU_MEMORY", 16ull << 30, 1, 32ull << 30);
  s.compute_capability = static_cast<int>(number("TRIREME_VGPU_COMPUTE_CAPABILITY", 80, 80, 129));
  s.shuffle_seed = number("TRIREME_VGPU_SHUFFLE", 0, 0, ~0ull);
  s.max_instructions = number("TRIREME_VGPU_MAX_INSTRUCTIONS", 4'000'000'000, 1, ~0ull);
  s.print_counters = number("TRIREME_VGPU_COUNTERS", 0, 0, 1) != 0;
  s.ignored_findings = ignored_findings();
  s.lazy_streams = is_second("TRIREME_VGPU_STREAMS", "eager", "lazy");
  s.load_all = is_second("TRIREME_VGPU_LOAD", "lazy", "all");
  s.lines_folder = variable("TRIREME_VGPU_LINES");
  return s;
}

}  // namespace

const Settings& settings() {
  static const Settings instance = from_environment();
  return instance;
}

}  // namespace trireme::vgpu
