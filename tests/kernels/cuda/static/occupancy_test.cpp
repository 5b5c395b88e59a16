// How much of each kernel fits on a multiprocessor, against the table in occupancy.txt.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include <cuda_occupancy.h>
#include <gtest/gtest.h>

#include "kernels/cuda/kernel.h"
#include "tests/kernels/cuda/static/compiled_kernels.h"

namespace trireme {
namespace {

struct Multiprocessor {
  const char* name;
  int arch;
  int count;
  int shared_kib;        // of one
  int block_shared_kib;  // what a block may ask for
};
constexpr Multiprocessor kMultiprocessors[] = {{"A100", 80, 108, 164, 163}, {"H100", 90, 132, 228, 227}};
constexpr int kThreadsPerMultiprocessor = 2048;
constexpr int kRegistersPerMultiprocessor = 65536;
constexpr int kWarp = 32;

cudaOccDeviceProp properties_of(const Multiprocessor& m) {
  cudaOccDeviceProp p;
  p.computeMajor = m.arch / 10;
  p.computeMinor = m.arch % 10;
  p.maxThreadsPerBlock = 1024;
  p.maxThreadsPerMultiprocessor = kThreadsPerMultiprocessor;
  p.regsPerBlock = p.regsPerMultiprocessor = kRegistersPerMultiprocessor;
  p.warpSize = kWarp;
  p.sharedMemPerBlock = 48 * 1024;
  p.sharedMemPerMultiprocessor = static_cast<std::size_t>(m.shared_kib) * 1024;
  p.numSms = m.count;
  p.sharedMemPerBlockOptin = static_cast<std::size_t>(m.block_shared_kib) * 1024;
  p.reservedSharedMemPerBlock = 1024;
  return p;
}

// A block of a kernel.
struct Block {
  int threads = 0;
  int dynamic_shared_bytes = -1;  // not known
};

std::string limits_of(unsigned factors) {
  const std::pair<unsigned, const char*> names[] = {{OCC_LIMIT_WARPS, "warps"},
                                                    {OCC_LIMIT_REGISTERS, "registers"},
                                                    {OCC_LIMIT_SHARED_MEMORY, "shared"},
                                                    {OCC_LIMIT_BLOCKS, "blocks"},
                                                    {OCC_LIMIT_BARRIERS, "barriers"}};
  std::string limits;
  for (const auto& [bit, name] : names) {
    if (factors & bit) limits += (limits.empty() ? "" : "+") + std::string(name);
  }
  return limits;
}

// registers, static shared memory, blocks, warps and what limits them
std::string describe(const Multiprocessor& m, const MachineCode& code, const Block& block) {
  cudaOccDeviceProp properties = properties_of(m);
  cudaOccFuncAttributes attributes{};
  attributes.maxThreadsPerBlock = block.threads;
  attributes.numRegs = code.registers;
  attributes.sharedSizeBytes = static_cast<std::size_t>(code.static_shared_bytes);
  attributes.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  const auto dynamic = static_cast<std::size_t>(std::max(block.dynamic_shared_bytes, 0));
  attributes.maxDynamicSharedSizeBytes = dynamic;
  attributes.numBlockBarriers = 1;
  const cudaOccDeviceState state;
  cudaOccResult result{};
  EXPECT_EQ(cudaOccMaxActiveBlocksPerMultiprocessor(&result, &properties, &attributes, &state, block.threads,
                                                    dynamic),
            CUDA_OCC_SUCCESS);
  const int blocks = result.activeBlocksPerMultiprocessor;
  std::ostringstream line;
  line << std::setw(5) << code.registers << std::setw(8) << code.static_shared_bytes << std::setw(4) << blocks
       << std::setw(4) << blocks * block.threads / kWarp << "  " << std::left << std::setw(17)
       << limits_of(result.limitingFactors);
  return line.str();
}

// By symbol.
std::map<std::string, Block> launched_blocks() {
  std::map<std::string, Block> blocks;
  for (const cuda::KernelShape* const shape : cuda::KernelShape::all()) {
    const char* symbol = nullptr;
    EXPECT_EQ(cudaFuncGetName(&symbol, shape->function()), cudaSuccess);
    if (symbol != nullptr) blocks[symbol] = {shape->threads(), shape->dynamic_shared_bytes()};
  }
  return blocks;
}

constexpr int kNameWidth = 60;

std::string without_trailing_spaces(std::string line) {
  return line.erase(line.find_last_not_of(' ') + 1);
}

std::string row_of(const CompiledKernel& kernel, const std::map<std::string, Block>& launched) {
  const auto found = launched.find(kernel.symbol);
  const Block block =
      found != launched.end() ? found->second : Block{kernel.max_threads > 0 ? kernel.max_threads : 1024};
  std::ostringstream row;
  row << "  " << std::left << std::setw(kNameWidth) << kernel.name << std::right << std::setw(8)
      << block.threads << std::setw(9)
      << (block.dynamic_shared_bytes < 0 ? std::string("?") : std::to_string(block.dynamic_shared_bytes));
  for (const Multiprocessor& m : kMultiprocessors)
    row << " |" << describe(m, kernel.by_arch.at(m.arch), block);
  return without_trailing_spaces(row.str());
}

std::string table() {
  const std::map<std::string, Block> launched = launched_blocks();
  std::map<std::string, std::set<std::string>> rows;  // by file
  for (const CompiledKernel& kernel : compiled_kernels()) {
    if (kernel.by_arch.size() == std::size(kArchs)) rows[kernel.file].insert(row_of(kernel, launched));
  }

  std::ostringstream table;
  table << "# How many blocks (bl) and warps (wa) of each kernel a multiprocessor holds at a time, of 64 "
           "warps, and\n"
           "# what limits them.  Shared memory in bytes of a block: what its launch asks for (dynamic), and "
           "what it\n"
           "# declares (static).  A kernel whose blocks depend on the sizes it is given stands here with the "
           "most\n"
           "# threads that it may have, and without its dynamic shared memory (?).\n"
           "#\n"
           "# Written by `ninja -C build cuda_occupancy`; compared by "
           "tests/kernels/cuda/static/occupancy_test.cpp.\n"
           "# nvcc " TRIREME_NVCC_VERSION "\n";
  std::ostringstream head;
  head << "# " << std::left << std::setw(kNameWidth) << "" << std::right << std::setw(8) << "threads"
       << std::setw(9) << "dynamic";
  for (const Multiprocessor& m : kMultiprocessors)
    head << " | regs  static  bl  wa  limit of " << std::left << std::setw(8) << m.name;
  table << without_trailing_spaces(head.str()) << "\n";
  for (const auto& [file, rows_of_file] : rows) {
    table << file << "\n";
    for (const std::string& row : rows_of_file) table << row << "\n";
  }
  return table.str();
}

std::set<std::string> lines_of(const std::string& text) {
  std::set<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.insert(line);
  return lines;
}

TEST(Occupancy, IsThatOfTheTable) {
  const std::string now = table();
  if (std::getenv("TRIREME_WRITE_OCCUPANCY") != nullptr) {
    std::ofstream(TRIREME_OCCUPANCY) << now;
    return;
  }
  std::ifstream file(TRIREME_OCCUPANCY);
  ASSERT_TRUE(file) << TRIREME_OCCUPANCY;
  const std::string kept{std::istreambuf_iterator<char>(file), {}};
  if (kept.find("# nvcc " TRIREME_NVCC_VERSION "\n") == std::string::npos)
    GTEST_SKIP() << "the table is that of another nvcc than " TRIREME_NVCC_VERSION;
  std::string changes;
  for (const std::string& line : lines_of(kept))
    changes += lines_of(now).contains(line) ? "" : "- " + line + "\n";
  for (const std::string& line : lines_of(now))
    changes += lines_of(kept).contains(line) ? "" : "+ " + line + "\n";
  EXPECT_TRUE(kept == now) << changes << "`ninja -C build cuda_occupancy` writes the table anew";
}

TEST(Occupancy, EveryKernelFits) {
  const std::map<std::string, Block> launched = launched_blocks();
  for (const CompiledKernel& kernel : compiled_kernels()) {
    const auto found = launched.find(kernel.symbol);
    if (found == launched.end()) continue;
    EXPECT_TRUE(kernel.max_threads == 0 || found->second.threads <= kernel.max_threads) << kernel.name;
    for (const Multiprocessor& m : kMultiprocessors)
      EXPECT_LE(found->second.dynamic_shared_bytes + kernel.by_arch.at(m.arch).static_shared_bytes,
                m.block_shared_kib * 1024)
          << kernel.name << " on " << m.name;
  }
}

}  // namespace
}  // namespace trireme
