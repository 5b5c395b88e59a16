// What kernels/ needs of the CUDA runtime, in terms that need no CUDA header.  Device, stream, event and
// memory errors are the machine's: fatal, naming the call.
#pragma once

#include <cstdint>

#include "kernels/device.h"

namespace trireme::cuda {

int num_devices();

// Device memory, uninitialised.  Running out of it is fatal and says who has it (kernels/memory_label.h).
void* allocate(std::int64_t size_bytes, Device device);
void release(void* data, Device device);
// Memory of the host that devices, `peer` first of all, copy from and to without a detour.
void* allocate_pinned(std::int64_t size_bytes, Device peer);
void release_pinned(void* data);
// Sets bytes to 0 and returns when that is done.
void zero(void* data, std::int64_t size_bytes, Device device);
// Returns when all work of the device is done.
void synchronize_device(Device device);

class StreamState;
StreamState* make_stream(Device device);
// Waits for the stream's work.
void destroy(StreamState* stream);
void synchronize(const StreamState& stream);
bool is_done(const StreamState& stream);
// Sets bytes to 0 in the order of the stream.
void zero(void* data, std::int64_t size_bytes, const StreamState& stream);

void* make_event(Device device);
void destroy_event(void* event);
void record(void* event, const StreamState& stream);
void make_wait(const StreamState& stream, void* event);
void synchronize_event(void* event);
bool is_reached(void* event);

// What is given to the stream, from the one call to the other, is taken down as a graph instead of done.  The
// graph takes the place of `old`, which may be null.
void begin_graph(const StreamState& stream);
void* end_graph(const StreamState& stream, void* old);
void launch_graph(void* graph, const StreamState& stream);
void destroy_graph(void* graph);

// Copies `num_rows` runs of `row_bytes`, which begin `to_stride_bytes` and `from_stride_bytes` apart, in the
// order of the stream.  Either side may be memory of the host: if it is not pinned, the call may wait.
void copy_rows(void* to, std::int64_t to_stride_bytes, const void* from, std::int64_t from_stride_bytes,
               std::int64_t row_bytes, std::int64_t num_rows, const StreamState& stream);

}  // namespace trireme::cuda
