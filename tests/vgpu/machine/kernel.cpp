#include "tests/vgpu/machine/kernel.h"

#include "tests/vgpu/report.h"

namespace trireme::vgpu {

void Counters::add(const Counters& other) {
  launches += other.launches;
  blocks += other.blocks;
  warp_instructions += other.warp_instructions;
  thread_instructions += other.thread_instructions;
  global_useful_bytes += other.global_useful_bytes;
  global_sectors += other.global_sectors;
  shared_accesses += other.shared_accesses;
  shared_conflicts += other.shared_conflicts;
  mma += other.mma;
  barriers += other.barriers;
}

std::string Kernel::describe(uint32_t statement) const {
  const Statement& s = statements[statement];
  std::string result = text("  ptx      line ", s.line, ": ", module->line(s.line), "\n");
  if (s.location < 0) return result;
  result += "  source   ";
  for (int l = s.location; l >= 0; l = module->locations[l].inlined_at) {
    const ptx::Location& at = module->locations[l];
    const auto file = module->files.find(at.file);
    if (l != s.location) result += ", inlined at ";
    result += text(file == module->files.end() ? "?" : file->second, ":", at.line);
  }
  return result + "\n";
}

}  // namespace trireme::vgpu
