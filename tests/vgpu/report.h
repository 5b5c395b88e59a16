#pragma once

#include <sstream>
#include <string>

namespace trireme::vgpu {

// What the virtual GPU can find wrong with a program.  The names that reports carry are in report.cpp.
enum class Finding {
  kOutOfBounds,
  kMisaligned,
  kUninitialisedRegister,
  kUninitialisedShared,
  kUninitialisedGlobal,
  kSharedRace,
  kGlobalRace,
  kMissingEvent,
  kDivergentBarrier,
  kWrongMask,
  kMissingWait,
  kLaunchLimits,
  kHostPointer,
  kDevicePointer,
  kOtherDevice,
  kWrongCopy,
  kUseAfterFree,
  kInvalidFree,
  kUnmapped,
  kUnmappedTooEarly,
  kLeak,
  kEndless,
  kMismatch,
  kMissingRank,
  kCommunicator,
  kCount
};

// The exit code of a program in which something was found, and of one that the virtual GPU can't run.
constexpr int kFindingExitCode = 97;
constexpr int kUnsupportedExitCode = 98;

const char* finding_name(Finding finding);

// The finding of that name; kCount if there is none.
Finding finding_by_name(const std::string& name);

// Prints the report and ends the process with kFindingExitCode, unless TRIREME_VGPU_IGNORE names the finding.
// `where` is the indented block of lines that Warp::where() and its like make; it may be empty.
void complain(Finding finding, const std::string& what, const std::string& where = "");

// The same for what can't be ignored, because there is no way to go on.
[[noreturn]] void give_up(Finding finding, const std::string& what, const std::string& where = "");

// Ends the process with kUnsupportedExitCode: the program is perhaps right, but beyond this machine.
[[noreturn]] void refuse(const std::string& what);

// The parts, one after the other, as `<<` writes them.
template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// A C++ symbol as a person writes it.
std::string demangled(const std::string& symbol);

}  // namespace trireme::vgpu
