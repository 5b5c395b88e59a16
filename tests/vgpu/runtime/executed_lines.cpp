#include "tests/vgpu/runtime/executed_lines.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include <unistd.h>

#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/modules.h"

namespace trireme::vgpu {
namespace {

// Whether it was executed, by file and line.
using Lines = std::map<std::string, std::map<int, bool>>;

// A module has far fewer locations than its kernels have instructions.
void add_lines(const ptx::Module& module, const std::vector<bool>& seen, const std::vector<bool>& executed,
               Lines& lines) {
  for (size_t i = 0; i < seen.size(); ++i) {
    if (!seen[i]) continue;
    for (int l = static_cast<int>(i); l >= 0; l = module.locations[l].inlined_at) {
      const auto file = module.files.find(module.locations[l].file);
      if (file != module.files.end()) lines[file->second][module.locations[l].line] |= executed[i];
    }
  }
}

void add_lines(const LoadedModule& loaded, Lines& lines) {
  const ptx::Module* module = nullptr;
  std::vector<bool> seen, executed;
  for (const auto& [name, kernel] : loaded.kernels()) {
    module = kernel->module;
    seen.resize(module->locations.size());
    executed.resize(module->locations.size());
    for (size_t i = 0; i < kernel->code.size(); ++i) {
      const int location = kernel->statements[kernel->code[i].statement].location;
      if (location < 0) continue;
      seen[location] = true;
      if (kernel->executed[i]) executed[location] = true;
    }
  }
  if (module) add_lines(*module, seen, executed, lines);
}

}  // namespace

void leave_executed_lines(const std::string& folder) {
  Lines lines;
  for (const auto& module : Modules::get().modules()) add_lines(*module, lines);
  std::string contents;
  for (const auto& [file, executed] : lines)
    for (const auto& [line, was] : executed) contents += text(was, " ", file, ":", line, "\n");

  std::string path = folder + "/XXXXXX.lines";
  const int file = mkstemps(path.data(), 6);
  const bool written =
      file >= 0 && write(file, contents.data(), contents.size()) == static_cast<ssize_t>(contents.size());
  if (!written || close(file) != 0)
    refuse(text("TRIREME_VGPU_LINES: can't write ", path, ": ", std::strerror(errno)));
}

}  // namespace trireme::vgpu
