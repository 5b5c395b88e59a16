#include "tests/vgpu/report.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>

#include <cxxabi.h>
#include <unistd.h>

#include "tests/vgpu/settings.h"

namespace trireme::vgpu {
namespace {

constexpr std::array<const char*, static_cast<size_t>(Finding::kCount)> kNames = {
    "out-of-bounds",
    "misaligned",
    "uninitialised-register",
    "uninitialised-shared",
    "uninitialised-global",
    "shared-race",
    "global-race",
    "missing-event",
    "divergent-barrier",
    "wrong-mask",
    "missing-wait",
    "launch-limits",
    "host-pointer",
    "device-pointer",
    "other-device",
    "wrong-copy",
    "use-after-free",
    "invalid-free",
    "unmapped",
    "unmapped-too-early",
    "leak",
    "endless",
    "mismatch",
    "missing-rank",
    "communicator",
};

[[noreturn]] void end_process(const std::string& message, int exit_code) {
  static std::mutex mutex;
  mutex.lock();  // never unlocked: the first report is the only one
  std::fflush(stdout);
  std::fputs(message.c_str(), stderr);
  std::fflush(stderr);
  _exit(exit_code);
}

}  // namespace

const char* finding_name(Finding finding) {
  return kNames[static_cast<size_t>(finding)];
}

Finding finding_by_name(const std::string& name) {
  size_t i = 0;
  while (i < kNames.size() && name != kNames[i]) ++i;
  return static_cast<Finding>(i);
}

void complain(Finding finding, const std::string& what, const std::string& where) {
  if (settings().ignored_findings >> static_cast<int>(finding) & 1) return;
  give_up(finding, what, where);
}

void give_up(Finding finding, const std::string& what, const std::string& where) {
  end_process(text("vgpu: ", finding_name(finding), ": ", what, "\n", where), kFindingExitCode);
}

void refuse(const std::string& what) {
  end_process(text("vgpu: unsupported: ", what, "\n"), kUnsupportedExitCode);
}

std::string demangled(const std::string& symbol) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), std::free);
  return status == 0 ? name.get() : symbol;
}

}  // namespace trireme::vgpu
