#include "tests/vgpu/runtime/copy.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/api.h"
#include "tests/vgpu/runtime/rows.h"

namespace trireme::vgpu {
namespace {

const char* kind_of(const Side& side) {
  return side.is_device ? "of a device" : "of the host";
}

void check_kind(const Side& to, const Side& from, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyDefault) return;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (to_device == to.is_device && from_device == from.is_device) return;
  constexpr const char* kKinds[] = {"cudaMemcpyHostToHost", "cudaMemcpyHostToDevice",
                                    "cudaMemcpyDeviceToHost", "cudaMemcpyDeviceToDevice"};
  give_up(Finding::kWrongCopy,
          text(kKinds[kind], ", but the source is ", kind_of(from), " and the destination ", kind_of(to)),
          where_called());
}

void count(const Side& to, const Side& from, uint64_t bytes, bool waits) {
  VgpuCounters& c = RuntimeState::get().counters;
  c.copies_waited += waits;
  if (to.is_device && from.is_device) {
    ++c.copies_on_device;
    c.bytes_on_device += bytes;
  } else if (to.is_device) {
    ++c.copies_to_device;
    c.bytes_to_device += bytes;
  } else if (from.is_device) {
    ++c.copies_to_host;
    c.bytes_to_host += bytes;
  }
}

// Moves the data, and what is known of every byte.
void execute_copy(const Side& to, const Side& from, size_t width, size_t height, const Running& running,
                  const std::string& call) {
  check_order(from, running, width, height, Access::kRead, call);
  check_order(to, running, width, height, Access::kWrite, call);
  if (from.is_device && !to.is_device) check_written(from, width, height, "copy", call);
  for (size_t n = 0; n < height; ++n) {
    const uint64_t source = from.rows.row(n);
    const uint64_t destination = to.rows.row(n);
    std::memmove(bytes_at(to, destination), bytes_at(from, source), width);
    if (!to.is_device) continue;
    if (from.is_device)
      std::memmove(to.region->state(destination), from.region->state(source), width);
    else
      std::memset(to.region->state(destination), kWritten, width);
  }
}

}  // namespace

cudaError_t copy(const void* to_pointer, size_t to_pitch, const void* from_pointer, size_t from_pitch,
                 size_t width, size_t height, cudaMemcpyKind kind, Stream& stream, CopyMode mode) {
  if (width == 0 || height == 0) return cudaSuccess;
  if (width > to_pitch || width > from_pitch) return cudaErrorInvalidValue;
  cudaError_t error = Streams::get().refuse_use(stream);
  if (error == cudaSuccess && mode == CopyMode::kWaits) error = Streams::get().refuse_unsafe();
  if (error != cudaSuccess) return error;
  const Side to = side_of(to_pointer, to_pitch, width, height);
  Side from = side_of(from_pointer, from_pitch, width, height);
  check_kind(to, from, kind);
  // Pageable memory is read before the call returns, whatever the stream does.
  std::shared_ptr<uint8_t[]> staged;
  // (That of a graph is read when it is launched.)
  if (from.is_pageable && !stream.capture()) {
    staged = std::shared_ptr<uint8_t[]>(new uint8_t[width * height]);
    for (size_t n = 0; n < height; ++n)
      std::memcpy(staged.get() + n * width, bytes_at(from, from.rows.row(n)), width);
    from.rows = {reinterpret_cast<uint64_t>(staged.get()), width};
  }
  const bool on_device = to.is_device && from.is_device;
  const bool waits = !stream.capture() && (mode == CopyMode::kWaits ? !on_device : to.is_pageable);
  if (!stream.capture()) count(to, from, width * height, waits);
  Streams& streams = Streams::get();
  streams.submit(stream, current_call, [=, call = where_called()](const Running& running) {
    execute_copy(to, from, width, height, running, call);
    (void)staged;  // lives until here
  });
  if (waits) streams.finish(stream);
  return cudaSuccess;
}

cudaError_t fill(void* to_pointer, size_t pitch, int value, size_t width, size_t height, Stream& stream) {
  if (width == 0 || height == 0) return cudaSuccess;
  if (width > pitch) return cudaErrorInvalidValue;
  const cudaError_t error = Streams::get().refuse_use(stream);
  if (error != cudaSuccess) return error;
  const Side to = side_of(to_pointer, pitch, width, height);
  if (!to.region) give_up(Finding::kHostPointer, "the memory to set is not of a device", where_called());
  if (!stream.capture()) ++RuntimeState::get().counters.fills;
  Streams::get().submit(stream, current_call, [=, call = where_called()](const Running& running) {
    check_order(to, running, width, height, Access::kWrite, call);
    for (size_t n = 0; n < height; ++n) {
      std::memset(bytes_at(to, to.rows.row(n)), value, width);
      std::memset(to.region->state(to.rows.row(n)), kWritten, width);
    }
  });
  return cudaSuccess;
}

}  // namespace trireme::vgpu
