// The messages that one stage of a pipeline gets and gives, of one kind: activations, or gradients.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/buffer.h"
#include "parallel/communicator.h"

namespace trireme {

// Messages come in the order in which they are expected.  Some are received ahead, while the stage computes,
// and those that it sends leave while it goes on.
class PipelineMessages {
 public:
  struct Expected {
    int from = 0;
    std::int64_t elements = 0;
  };

  // `channel` carries no other messages, and outlives this.
  explicit PipelineMessages(Communicator& channel) : channel_(channel) {}

  // Of a step, whose messages are of this type.  At most `room` messages that this stage has sent are on
  // their way at a time: with less the stages might wait for each other.
  void begin(std::vector<Expected> expected, int room, DType dtype, Stream stream);
  // The next message, valid until the next call.
  Tensor receive(Stream stream);
  // Where the next message to be sent is to be written.
  Tensor outgoing(std::int64_t elements, Stream stream);
  void send(Tensor message, int to, Stream stream);
  // Returns when all that was sent has left.
  void finish(Stream stream);

 private:
  static constexpr std::size_t kAhead = 2;
  struct Slot {
    Buffer memory;
    Communicator::Ticket ticket = 0;
    bool under_way = false;
  };

  Tensor tensor_in(Slot& slot, std::int64_t elements, Device device);
  void post_receives(Stream stream);
  void wait_for(Slot& slot, Stream stream);

  Communicator& channel_;
  std::vector<Expected> expected_;
  DType dtype_ = DType::kFloat32;
  std::size_t num_posted_ = 0;
  std::size_t num_received_ = 0;
  std::array<Slot, kAhead + 1> incoming_;
  std::vector<Slot> outgoing_;
  std::size_t num_sent_ = 0;
  // Of this step.  To free memory of a device waits for all that it does, and in a step that may be a receive
  // that was posted ahead.
  std::vector<Buffer> outgrown_;
};

}  // namespace trireme
