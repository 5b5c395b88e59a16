#include "parallel/gradient_wire.h"

#include <glog/logging.h>

#include "kernels/elementwise.h"

namespace trireme {

GradientWire::GradientWire(Communicator& communicator, DType dtype, std::int64_t largest_bucket,
                           Device device)
    : communicator_(communicator),
      copies_(dtype == DType::kBfloat16 && communicator.size() > 1),
      slot_elements_(copies_ ? largest_bucket : 0),
      memory_(static_cast<std::int64_t>(kSlots) * slot_elements_ * size_bytes(DType::kBfloat16), device) {
  CHECK(dtype == DType::kFloat32 || dtype == DType::kBfloat16) << name(dtype);
}

Tensor GradientWire::round(Tensor x, Stream stream) {
  CHECK_LT(num_sent_ - num_arrived_, kSlots);
  const auto slot = static_cast<std::int64_t>(num_sent_ % kSlots);
  const Tensor wire = memory_.tensor(DType::kBfloat16, {x.num_elements()},
                                     slot * slot_elements_ * size_bytes(DType::kBfloat16));
  convert(wire, x, stream);
  return wire;
}

Communicator::Ticket GradientWire::all_reduce(Tensor x, Stream stream) {
  if (!copies_) return communicator_.all_reduce(x, ReduceOp::kSum, stream);
  const Tensor wire = round(x, stream);
  slots_[num_sent_++ % kSlots] = {.wire = wire, .out = x};
  return communicator_.all_reduce(wire, ReduceOp::kSum, stream);
}

Communicator::Ticket GradientWire::reduce_scatter(Tensor out, Tensor x, Stream stream) {
  if (!copies_) return communicator_.reduce_scatter(out, x, ReduceOp::kSum, stream);
  const Tensor wire = round(x, stream);
  const std::int64_t part = out.num_elements();
  const Tensor own = wire.slice(0, communicator_.rank() * part, (communicator_.rank() + 1) * part);
  slots_[num_sent_++ % kSlots] = {.wire = own, .out = out};
  return communicator_.reduce_scatter(own, wire, ReduceOp::kSum, stream);
}

void GradientWire::arrived(Stream stream) {
  if (!copies_) return;
  CHECK_LT(num_arrived_, num_sent_);
  const Slot& slot = slots_[num_arrived_++ % kSlots];
  convert(slot.out, slot.wire, stream);
}

}  // namespace trireme
