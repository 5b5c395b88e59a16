#include "tests/vgpu/loader/fatbin.h"

#include <cstring>
#include <span>
#include <string_view>

#include <elf.h>
#include <zstd.h>

#include "tests/vgpu/loader/lz4.h"
#include "tests/vgpu/report.h"

namespace trireme::vgpu {
namespace {

struct Wrapper {
  uint32_t magic;
  uint32_t version;
  const uint8_t* data;
  void* more;
};
constexpr uint32_t kWrapperMagic = 0x466243B1;

struct FatbinHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t header_bytes;
  uint64_t entries_bytes;
};
constexpr uint32_t kFatbinMagic = 0xBA55ED50;

struct EntryHeader {
  uint16_t kind;
  uint16_t version;
  uint32_t header_bytes;
  uint64_t padded_bytes;
  uint32_t compressed_bytes;  // 0: not compressed
  uint32_t unused[2];
  uint32_t sm;
  uint64_t unused2;
  uint64_t flags;
  uint64_t unused3;
  uint64_t uncompressed_bytes;
};
static_assert(offsetof(EntryHeader, sm) == 0x1c && offsetof(EntryHeader, flags) == 0x28);
constexpr uint16_t kKindPtx = 1;
constexpr uint16_t kKindCubin = 2;
constexpr uint64_t kFlagLz4 = 0x2000;
constexpr uint64_t kFlagZstd = 0x8000;

std::string decompress_zstd(std::span<const uint8_t> bytes, size_t size) {
  std::string out(size, '\0');
  const size_t written = ZSTD_decompress(out.data(), out.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(written) || written != size) refuse("device code with a damaged zstd frame");
  return out;
}

std::string contents(const uint8_t* entry, const EntryHeader& header) {
  const uint8_t* begin = entry + header.header_bytes;
  const std::span<const uint8_t> compressed(begin, header.compressed_bytes);
  if (header.flags & kFlagZstd) return decompress_zstd(compressed, header.uncompressed_bytes);
  if (header.flags & kFlagLz4) {
    const auto out = decompress_lz4(compressed, header.uncompressed_bytes);
    if (!out) refuse("device code with a damaged LZ4 block");
    return *out;
  }
  return {reinterpret_cast<const char*>(begin), header.padded_bytes};
}

// ptxas leaves a kernel's register count in the top byte of sh_info of its .text section.
void read_register_counts(const std::string& cubin, std::map<std::string, int>& registers) {
  Elf64_Ehdr elf;
  if (cubin.size() < sizeof(elf)) return;
  std::memcpy(&elf, cubin.data(), sizeof(elf));
  const auto section = [&](size_t i) {
    Elf64_Shdr header{};
    const size_t at = elf.e_shoff + i * elf.e_shentsize;
    if (at + sizeof(header) <= cubin.size()) std::memcpy(&header, cubin.data() + at, sizeof(header));
    return header;
  };
  const Elf64_Shdr names = section(elf.e_shstrndx);
  constexpr std::string_view kPrefix = ".text.";
  for (size_t i = 0; i < elf.e_shnum; ++i) {
    const Elf64_Shdr header = section(i);
    if (names.sh_offset + header.sh_name >= cubin.size()) continue;
    const std::string_view name = cubin.data() + names.sh_offset + header.sh_name;
    if (name.starts_with(kPrefix))
      registers[std::string(name.substr(kPrefix.size()))] = static_cast<int>(header.sh_info >> 24);
  }
}

}  // namespace

DeviceCode read_fatbin(const void* fatbin_wrapper, int newest_sm) {
  Wrapper wrapper;
  std::memcpy(&wrapper, fatbin_wrapper, sizeof(wrapper));
  FatbinHeader header;
  if (wrapper.magic != kWrapperMagic || wrapper.version != 1)
    refuse(
        text("device code in a wrapper of version ", wrapper.version, " (is it compiled with -rdc=true?)"));
  std::memcpy(&header, wrapper.data, sizeof(header));
  if (header.magic != kFatbinMagic) refuse("device code that is no fat binary");

  DeviceCode code;
  uint32_t best_ptx = 0;
  uint32_t best_cubin = 0;
  const uint8_t* entry = wrapper.data + header.header_bytes;
  const uint8_t* const end = entry + header.entries_bytes;
  while (entry < end) {
    EntryHeader e;
    std::memcpy(&e, entry, sizeof(e));
    const bool usable = e.sm <= static_cast<uint32_t>(newest_sm);
    if (e.kind == kKindPtx && usable && e.sm > best_ptx) {
      best_ptx = e.sm;
      code.ptx = contents(entry, e);
      code.ptx.resize(std::strlen(code.ptx.c_str()));  // padded with zeros
    } else if (e.kind == kKindCubin && usable && e.sm > best_cubin) {
      best_cubin = e.sm;
      code.registers.clear();
      read_register_counts(contents(entry, e), code.registers);
    }
    entry += e.header_bytes + e.padded_bytes;
  }
  return code;
}

}  // namespace trireme::vgpu
