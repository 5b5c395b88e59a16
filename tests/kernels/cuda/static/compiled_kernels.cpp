#include "tests/kernels/cuda/static/compiled_kernels.h"

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>

#include <cxxabi.h>
#include <elf.h>
#include <gtest/gtest.h>

#include "tests/vgpu/loader/fatbin.h"

namespace trireme {
namespace {

constexpr int kPtxArch = 80;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> objects() {
  std::istringstream list(read_file(TRIREME_CUDA_OBJECTS));
  std::vector<std::string> objects;
  for (std::string line; std::getline(list, line);) {
    if (!line.empty()) objects.push_back(line);
  }
  return objects;
}

// The PTX text in an object's fat binary.
std::string ptx_of(const std::string& object) {
  const std::string bytes = read_file(object);
  Elf64_Ehdr elf{};
  if (bytes.size() < sizeof(elf)) return {};
  std::memcpy(&elf, bytes.data(), sizeof(elf));
  const auto section = [&](std::size_t i) {
    Elf64_Shdr header{};
    std::memcpy(&header, bytes.data() + elf.e_shoff + i * elf.e_shentsize, sizeof(header));
    return header;
  };
  const Elf64_Shdr names = section(elf.e_shstrndx);
  for (std::size_t i = 0; i < elf.e_shnum; ++i) {
    const Elf64_Shdr header = section(i);
    if (std::strcmp(bytes.data() + names.sh_offset + header.sh_name, ".nv_fatbin") != 0) continue;
    // As a program registers it.
    const struct {
      std::uint32_t magic = 0x466243B1, version = 1;
      const void* data = nullptr;
      void* more = nullptr;
    } wrapper{.data = bytes.data() + header.sh_offset};
    return vgpu::read_fatbin(&wrapper, kPtxArch).ptx;
  }
  return {};
}

// trireme::cuda::(anonymous namespace)::f<64>(int) -> f<64>
std::string short_name(const std::string& symbol) {
  int status = 0;
  char* const demangled = abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status);
  std::string name = status == 0 ? demangled : symbol;
  std::free(demangled);
  for (const char* const part : {"(anonymous namespace)::", "trireme::cuda::", "trireme::"}) {
    for (std::size_t at; (at = name.find(part)) != std::string::npos;) name.erase(at, std::strlen(part));
  }
  if (name.starts_with("void ")) name.erase(0, 5);
  int depth = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    depth += name[i] == '<' ? 1 : name[i] == '>' ? -1 : 0;
    if (depth == 0 && name[i] == '(') return name.substr(0, i);
  }
  return name;
}

// .../kernels/cuda/f.cu.o -> f.cu
std::string file_of(const std::string& object) {
  static const std::regex pattern(R"(.*/kernels/cuda/(.*)\.o)");
  std::smatch match;
  return std::regex_match(object, match, pattern) ? match[1] : object;
}

// Kernels in the order of the text.
std::vector<CompiledKernel> kernels_of(const std::string& ptx, const std::string& object) {
  static const std::regex entry(R"(\.entry ([\w$]+))"), threads(R"(\.maxntid (\d+))");
  std::vector<CompiledKernel> kernels;
  for (std::size_t at = 0; (at = ptx.find(".entry ", at)) != std::string::npos;) {
    const std::size_t end = ptx.find("\n}", at);
    const std::string text = ptx.substr(at, end - at);
    at = end;
    CompiledKernel kernel;
    std::smatch match;
    if (!std::regex_search(text, match, entry)) continue;
    kernel.symbol = match[1];
    kernel.name = short_name(kernel.symbol);
    kernel.object = object;
    kernel.file = file_of(object);
    const std::size_t body = text.find("\n{");
    const std::string head = text.substr(0, body);
    if (std::regex_search(head, match, threads)) kernel.max_threads = std::stoi(match[1]);
    kernel.ptx = text.substr(body);
    kernels.push_back(kernel);
  }
  return kernels;
}

int number(const std::string& line, const char* before_unit) {
  std::smatch match;
  return std::regex_search(line, match, std::regex("(\\d+) " + std::string(before_unit)))
             ? std::stoi(match[1])
             : 0;
}

// Adds what `ptxas -v` has said.
void add_report(std::vector<CompiledKernel>& kernels, const std::string& report) {
  static const std::regex compiling(R"(Compiling entry function '([\w$]+)' for 'sm_(\d+)')");
  MachineCode* code = nullptr;
  std::istringstream lines(report);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_search(line, match, compiling)) {
      code = nullptr;
      for (CompiledKernel& kernel : kernels) {
        if (kernel.symbol == match[1]) code = &kernel.by_arch[std::stoi(match[2])];
      }
      EXPECT_NE(code, nullptr) << "no PTX of " << match[1];
    } else if (code != nullptr) {
      // Functions that a kernel calls have their own.
      code->stack_bytes += number(line, "bytes stack frame") + number(line, "bytes cumulative stack size");
      code->spill_bytes += number(line, "bytes spill stores") + number(line, "bytes spill loads");
      code->static_shared_bytes += number(line, "bytes smem");
      if (line.find(": Used ") != std::string::npos)
        code->registers = number(line.substr(line.find("Used")), "registers");
    }
  }
}

std::vector<CompiledKernel> read_objects() {
  std::vector<CompiledKernel> all;
  for (const std::string& object : objects()) {
    std::vector<CompiledKernel> kernels = kernels_of(ptx_of(object), object);
    EXPECT_FALSE(kernels.empty()) << object << " has no PTX";
    add_report(kernels, read_file(object + ".ptxas"));
    all.insert(all.end(), kernels.begin(), kernels.end());
  }
  return all;
}

}  // namespace

const std::vector<CompiledKernel>& compiled_kernels() {
  static const std::vector<CompiledKernel> kernels = read_objects();
  return kernels;
}

}  // namespace trireme
