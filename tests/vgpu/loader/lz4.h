#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace trireme::vgpu {

// Decompresses one LZ4 block (no frame) of which the uncompressed size is known.  Nothing if it is damaged.
std::optional<std::string> decompress_lz4(std::span<const uint8_t> block, size_t size);

}  // namespace trireme::vgpu
