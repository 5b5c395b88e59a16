// Gates on the code of every kernel: nothing in local memory, and tensor cores used where they should be.
#include <array>
#include <cstdio>
#include <map>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "tests/kernels/cuda/static/compiled_kernels.h"

namespace trireme {
namespace {

TEST(CompiledKernels, AreThereForEveryArchitecture) {
  EXPECT_GT(compiled_kernels().size(), 8U);
  for (const CompiledKernel& kernel : compiled_kernels()) {
    EXPECT_EQ(kernel.by_arch.size(), std::size(kArchs)) << kernel.name;
    for (const int arch : kArchs) {
      ASSERT_TRUE(kernel.by_arch.contains(arch)) << kernel.name << " for sm_" << arch;
      EXPECT_GT(kernel.by_arch.at(arch).registers, 0) << kernel.name << " for sm_" << arch;
    }
  }
}

TEST(CompiledKernels, KeepEverythingInRegisters) {
  for (const CompiledKernel& kernel : compiled_kernels()) {
    for (const auto& [arch, code] : kernel.by_arch) {
      EXPECT_EQ(code.spill_bytes, 0) << kernel.name << " for sm_" << arch << " spills registers";
      EXPECT_EQ(code.stack_bytes, 0) << kernel.name << " for sm_" << arch << " uses local memory";
    }
  }
}

bool is_bf16(const CompiledKernel& kernel) {
  return kernel.file.starts_with("attention/") && kernel.file.find("bf16") != std::string::npos;
}

// A kernel that multiplies on tensor cores feeds them as it should: copies past the registers, and loads of
// whole matrices.
TEST(Instructions, Bf16AttentionUsesTensorCores) {
  std::map<std::string, int> multiplying;  // kernels of a file
  for (const CompiledKernel& kernel : compiled_kernels()) {
    if (!is_bf16(kernel)) continue;
    const bool multiplies = kernel.has("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32");
    multiplying[kernel.file] += multiplies ? 1 : 0;
    if (!multiplies) continue;
    EXPECT_TRUE(kernel.has("ldmatrix.sync.aligned.m8n8.x4")) << kernel.name;
    EXPECT_TRUE(kernel.has("cp.async.cg.shared.global")) << kernel.name;
    EXPECT_TRUE(kernel.has("cp.async.wait_group")) << kernel.name;
  }
  EXPECT_FALSE(multiplying.empty());
  for (const auto& [file, count] : multiplying) EXPECT_GT(count, 0) << file;
}

TEST(Instructions, NothingElseDoes) {
  int multiplying = 0;
  for (const CompiledKernel& kernel : compiled_kernels()) {
    EXPECT_FALSE(kernel.has("tf32")) << kernel.name;
    if (is_bf16(kernel)) continue;
    EXPECT_FALSE(kernel.has("mma.sync")) << kernel.name;
    if (!kernel.has("cp.async.cg.shared.global")) continue;
    EXPECT_TRUE(kernel.has("fma.rn.f32")) << kernel.name;
    EXPECT_TRUE(kernel.has("ld.shared.v4.f32")) << kernel.name;
    ++multiplying;
  }
  EXPECT_GT(multiplying, 0);
}

// What cuobjdump prints of an object's machine code.
std::string disassemble(const std::string& object) {
  // It looks for nvdisasm on PATH.
  const std::string command =
      "PATH=\"$(dirname '" TRIREME_NVDISASM "'):$PATH\" '" TRIREME_CUOBJDUMP "' -sass '" + object + "' 2>&1";
  std::FILE* const pipe = popen(command.c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  std::string text;
  std::array<char, 1 << 16> buffer;
  for (std::size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    text.append(buffer.data(), n);
  EXPECT_EQ(pclose(pipe), 0) << text.substr(0, 300);
  return text;
}

// Symbol, then architecture -> instructions.
std::map<std::string, std::map<int, std::string>> machine_code_of(const std::string& object) {
  std::map<std::string, std::map<int, std::string>> code;
  std::istringstream text(disassemble(object));
  int arch = 0;
  std::string* function = nullptr;
  for (std::string line; std::getline(text, line);) {
    constexpr char kArch[] = "arch = sm_", kFunction[] = "Function : ";
    if (line.starts_with(kArch)) {
      arch = std::stoi(line.substr(sizeof(kArch) - 1));
    } else if (const std::size_t at = line.find(kFunction); at != std::string::npos) {
      function = &code[line.substr(at + sizeof(kFunction) - 1)][arch];
    } else if (function != nullptr) {
      *function += line + "\n";
    }
  }
  return code;
}

TEST(Instructions, AreThereInMachineCode) {
  if (std::string(TRIREME_CUOBJDUMP).ends_with("NOTFOUND") ||
      std::string(TRIREME_NVDISASM).ends_with("NOTFOUND"))
    GTEST_SKIP()
        << "cuobjdump and nvdisasm aren't there (pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm)";
  std::map<std::string, std::map<std::string, std::map<int, std::string>>> by_object;
  for (const CompiledKernel& kernel : compiled_kernels()) {
    if (!kernel.has("cp.async.cg.shared.global")) continue;
    if (!by_object.contains(kernel.object)) by_object[kernel.object] = machine_code_of(kernel.object);
    for (const int arch : kArchs) {
      const std::string& code = by_object[kernel.object][kernel.symbol][arch];
      const auto expect = [&](const char* instruction, bool is_expected) {
        EXPECT_EQ(code.find(instruction) != std::string::npos, is_expected)
            << instruction << " in " << kernel.name << " for sm_" << arch;
      };
      const bool multiplies = kernel.has("mma.sync");
      expect(" LDGSTS.", true);
      expect(" HMMA.16816.F32.BF16 ", multiplies);
      expect(" LDSM.16.", multiplies);
      if (!multiplies) expect(" FFMA ", true);
    }
  }
}

}  // namespace
}  // namespace trireme
