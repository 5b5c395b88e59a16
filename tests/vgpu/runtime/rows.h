#pragma once

#include <cstdint>
#include <string>

#include "tests/vgpu/memory/address_space.h"
#include "tests/vgpu/runtime/streams.h"

namespace trireme::vgpu {

// `height` rows of `width` bytes, each `pitch` bytes after the one before.
struct Rows {
  uint64_t begin = 0;
  size_t pitch = 0;

  uint64_t row(size_t n) const { return begin + n * pitch; }
};

// Memory that a copy, or a function of a library, reads or writes.
struct Side {
  Rows rows;
  Region* region = nullptr;  // null: pageable or registered memory of the host
  bool is_device = false;
  bool is_pageable = false;
};

// All rows must lie in one live allocation, or it is found.
Side side_of(const void* pointer, size_t pitch, size_t width, size_t height);

// Where the bytes of an address of the side lie.
uint8_t* bytes_at(const Side& side, uint64_t address);

// The operation is an actor like a block of a kernel, and may come too early or too late like one.
void check_order(const Side& side, const Running& running, size_t width, size_t height, Access access,
                 const std::string& call);

// Of memory of a region: finds what nobody has written.  `what` says who reads it: "copy".
void check_written(const Side& side, size_t width, size_t height, const std::string& what,
                   const std::string& call);

}  // namespace trireme::vgpu
