// What nvcc and ptxas made of the kernels of kernels/cuda/, read from their objects: no GPU takes part.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace trireme {

// Of one architecture, as ptxas has it.
struct MachineCode {
  int registers = 0;            // of a thread
  int static_shared_bytes = 0;  // of a block
  int stack_bytes = 0;          // of local memory
  int spill_bytes = 0;          // written to and read from it
};

struct CompiledKernel {
  std::string symbol;
  std::string name;                    // as a person writes it, without namespaces and parameters
  std::string object;                  // where it was read
  std::string file;                    // of kernels/cuda/: "attention/forward_fp32_64.cu"
  int max_threads = 0;                 // of a block: __launch_bounds__, or 0
  std::string ptx;                     // the body
  std::map<int, MachineCode> by_arch;  // 80: sm_80

  bool has(const char* instruction) const { return ptx.find(instruction) != std::string::npos; }
};

// The architectures that every kernel is compiled for.
constexpr int kArchs[] = {80, 90};

// Of every object.  What can't be read is left out, and fails the test that asks first.
const std::vector<CompiledKernel>& compiled_kernels();

}  // namespace trireme
