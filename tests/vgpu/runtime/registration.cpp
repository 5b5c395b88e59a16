// What nvcc's code calls before main, and the report at exit.
#include <cstdio>
#include <cstdlib>

#include "tests/vgpu/memory/address_space.h"
#include "tests/vgpu/memory/mappings.h"
#include "tests/vgpu/memory/timeline.h"
#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/api.h"
#include "tests/vgpu/runtime/counters_api.h"
#include "tests/vgpu/runtime/executed_lines.h"
#include "tests/vgpu/runtime/host_access.h"
#include "tests/vgpu/runtime/library.h"
#include "tests/vgpu/runtime/modules.h"
#include "tests/vgpu/settings.h"

namespace trireme::vgpu {
namespace {

void report_leaks() {
  AddressSpace& space = AddressSpace::get();
  std::vector<Allocation> leaks = space.host().leaks();
  for (int d = 0; d < space.num_devices(); ++d) {
    const auto more = space.device(d).leaks();
    leaks.insert(leaks.end(), more.begin(), more.end());
  }
  const auto pieces = Mappings::get().leaks();
  leaks.insert(leaks.end(), pieces.begin(), pieces.end());
  if (leaks.empty()) return;
  uint64_t bytes = 0;
  for (const Allocation& a : leaks) bytes += a.bytes;
  complain(Finding::kLeak,
           text(bytes, " bytes in ", leaks.size(), " allocations are not freed at exit, the first ",
                leaks[0].bytes, " by ", leaks[0].origin));
}

// What is constructed while the library is loaded is destroyed after finish().
[[gnu::constructor]] void start() {
  settings();
  AddressSpace::get();
  Timeline::get();
  Modules::get();
  Streams::get();
  Mappings::get();
}

int exit_status = 0;

void note_exit_status(int status, void*) {
  exit_status = status;
}

// Runs after the last destructor of the program.  A program that fails anyway is not
// blamed for what it didn't free on its way out.
[[gnu::destructor]] void finish() {
  if (settings().print_counters)
    std::fputs((Modules::get().counters() + counters_of_process()).c_str(), stderr);
  if (!settings().lines_folder.empty()) leave_executed_lines(settings().lines_folder);
  if (exit_status == 0) report_leaks();
}

LoadedModule* module_of(void** handle) {
  return reinterpret_cast<LoadedModule*>(handle);
}

}  // namespace
}  // namespace trireme::vgpu

using namespace trireme::vgpu;

#pragma GCC visibility push(default)
extern "C" {

void** __cudaRegisterFatBinary(void* fatbin) {
  static const bool first = [] {
    watch_host_accesses();
    return on_exit(note_exit_status, nullptr) == 0;
  }();
  (void)first;
  return reinterpret_cast<void**>(Modules::get().load(fatbin));
}

void __cudaRegisterFatBinaryEnd(void** handle) {
  if (settings().load_all || !settings().lines_folder.empty()) module_of(handle)->load_all();
}

// Kernels may still be waiting in streams, and counters be asked for: modules stay.
void __cudaUnregisterFatBinary(void**) {}

int vgpu_exit_status() {
  return exit_status;
}

char __cudaInitModule(void**) {
  return 1;
}

void __cudaRegisterFunction(void** handle, const char* host_function, char*, const char* name, int, uint3*,
                            uint3*, dim3*, dim3*, int*) {
  Modules::get().add_function(module_of(handle), host_function, name);
}

void __cudaRegisterVar(void** handle, char* host_variable, char*, const char* name, int, size_t bytes, int,
                       int) {
  Modules::get().add_variable(module_of(handle), host_variable, name, bytes);
}

void __cudaRegisterManagedVar(void**, void**, char*, const char* name, int, size_t, int, int) {
  refuse(text("the __managed__ variable ", name));
}

}  // extern "C"
#pragma GCC visibility pop
