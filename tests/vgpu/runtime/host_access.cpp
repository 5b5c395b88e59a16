#include "tests/vgpu/runtime/host_access.h"

#include <csignal>
#include <cstdint>

#include "tests/vgpu/memory/address_space.h"
#include "tests/vgpu/report.h"

namespace trireme::vgpu {
namespace {

struct sigaction previous;

void on_fault(int, siginfo_t* info, void*) {
  AddressSpace& space = AddressSpace::get();
  const auto address = reinterpret_cast<uint64_t>(info->si_addr);
  if (space.is_device(address))
    give_up(Finding::kDevicePointer, text("the host touches 0x", std::hex, address, std::dec, ", ",
                                          space.find(address)->describe(address)));
  sigaction(SIGSEGV, &previous, nullptr);  // the access is tried again, and fails as it would have
}

}  // namespace

void watch_host_accesses() {
  struct sigaction action = {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, &previous);
}

}  // namespace trireme::vgpu
