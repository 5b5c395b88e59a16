// Token numbers, from the host's memory to where the model computes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// For a stream of the CPU, tensors are what they were.  For one of a CUDA device they are copied to it, by a
// stream of copies beside it and through pinned memory, so that neither the host waits nor what is being
// computed.  Two sets of memory take turns: what is brought for a step must not wait for the end of the step
// before.
class TokenUpload {
 public:
  explicit TokenUpload(Stream stream);

  // From here on what was brought before the last begin() is gone.
  void begin();
  // Which of the sets it is: 0 or 1.
  int current() const { return static_cast<int>(current_); }
  // The numbers on the device, for work given to the stream from now on; empty for an empty tensor.  `host`
  // is contiguous int32 and may change when the call returns, but on the CPU.
  Tensor bring(Tensor host);

 private:
  struct Chunk {
    Buffer pinned;
    Buffer on_device;
    std::int64_t used_bytes = 0;
  };
  struct Set {
    explicit Set(Device device) : copied(device), used(device) {}

    std::vector<Chunk> chunks;
    Event copied;  // to the device
    Event used;    // by the stream
  };

  Chunk& chunk_with_room_for(std::int64_t bytes);

  Stream stream_;
  std::optional<DeviceStream> copies_;  // of a CUDA device
  std::array<Set, 2> sets_;
  std::size_t current_ = 0;
};

}  // namespace trireme
