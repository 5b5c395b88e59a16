#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace trireme::vgpu {

// How the virtual GPU behaves, read once from the environment (README.md lists the variables).
struct Settings {
  int num_devices = 1;         // TRIREME_VGPU_DEVICES, 1 to 8
  int num_threads = 0;         // TRIREME_VGPU_THREADS: host threads that run blocks; default: one per core
  size_t memory_bytes = 0;     // TRIREME_VGPU_MEMORY: bytes of one device; default 16 GiB
  int compute_capability = 0;  // TRIREME_VGPU_COMPUTE_CAPABILITY: 10 times it; default 80
  bool lazy_streams =
      false;  // TRIREME_VGPU_STREAMS=lazy: work is done when somebody waits for it, not before
  uint64_t shuffle_seed = 0;  // TRIREME_VGPU_SHUFFLE: other than 0, blocks and warps run in a random order
  uint64_t max_instructions =
      0;  // TRIREME_VGPU_MAX_INSTRUCTIONS: a block that runs more warp instructions hangs
  bool print_counters = false;  // TRIREME_VGPU_COUNTERS=1: a table of counters per kernel on stderr at exit
  bool load_all = false;        // TRIREME_VGPU_LOAD=all: every kernel is translated when the program starts
  std::string lines_folder;     // TRIREME_VGPU_LINES: which source lines were executed is left there at exit
  uint32_t ignored_findings = 0;  // TRIREME_VGPU_IGNORE: bit per Finding (report.h)
};

const Settings& settings();

}  // namespace trireme::vgpu
