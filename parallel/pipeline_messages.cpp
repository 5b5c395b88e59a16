#include "parallel/pipeline_messages.h"

#include <utility>

#include <glog/logging.h>

#include "kernels/memory_label.h"

namespace trireme {

Tensor PipelineMessages::tensor_in(Slot& slot, std::int64_t elements, Device device) {
  const std::int64_t bytes = elements * size_bytes(dtype_);
  if (slot.memory.size_bytes() < bytes) {
    const MemoryLabel label("communication");
    outgrown_.push_back(std::move(slot.memory));
    slot.memory = Buffer(bytes, device);
  }
  return slot.memory.tensor(dtype_, {elements});
}

void PipelineMessages::wait_for(Slot& slot, Stream stream) {
  if (slot.under_way) channel_.wait(slot.ticket, stream);
  slot.under_way = false;
}

void PipelineMessages::begin(std::vector<Expected> expected, int room, DType dtype, Stream stream) {
  CHECK_EQ(num_received_, expected_.size()) << "messages of the last step were not taken";
  outgrown_.clear();
  expected_ = std::move(expected);
  dtype_ = dtype;
  num_posted_ = num_received_ = 0;
  if (outgoing_.size() < static_cast<std::size_t>(room)) outgoing_.resize(static_cast<std::size_t>(room));
  post_receives(stream);
}

void PipelineMessages::post_receives(Stream stream) {
  // The last message that was received is still being read.
  for (; num_posted_ < expected_.size() && num_posted_ < num_received_ + kAhead; ++num_posted_) {
    Slot& slot = incoming_[num_posted_ % incoming_.size()];
    const Expected& message = expected_[num_posted_];
    slot.ticket = channel_.receive(tensor_in(slot, message.elements, stream.device()), message.from, stream);
    slot.under_way = true;
  }
}

Tensor PipelineMessages::receive(Stream stream) {
  CHECK_LT(num_received_, expected_.size());
  Slot& slot = incoming_[num_received_ % incoming_.size()];
  const std::int64_t elements = expected_[num_received_].elements;
  ++num_received_;
  post_receives(stream);
  wait_for(slot, stream);
  return slot.memory.tensor(dtype_, {elements});
}

Tensor PipelineMessages::outgoing(std::int64_t elements, Stream stream) {
  Slot& slot = outgoing_[num_sent_ % outgoing_.size()];
  wait_for(slot, stream);
  return tensor_in(slot, elements, stream.device());
}

void PipelineMessages::send(Tensor message, int to, Stream stream) {
  Slot& slot = outgoing_[num_sent_ % outgoing_.size()];
  slot.ticket = channel_.send(message, to, stream);
  slot.under_way = true;
  ++num_sent_;
}

void PipelineMessages::finish(Stream stream) {
  for (Slot& slot : outgoing_) wait_for(slot, stream);
}

}  // namespace trireme
