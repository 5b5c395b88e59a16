#include "parallel/self_communicator.h"

#include <glog/logging.h>

#include "kernels/elementwise.h"

namespace trireme {

// Later work on `stream` comes after what has been given to the stream of the last operation.
void SelfCommunicator::order(Stream stream) {
  if (last_.cuda() == nullptr || last_.cuda() == stream.cuda()) return;
  if (!event_) event_.emplace(last_.device());
  event_->record(last_);
  event_->make_wait(stream);
}

Communicator::Ticket SelfCommunicator::operation(Tensor out, Tensor x, Stream stream) {
  const bool copies = x.num_elements() > 0 && out.raw_data() != x.raw_data();
  const Shape flat{x.num_elements()};
  if (out.device().is_cpu() && x.device().is_cpu()) {
    if (copies) copy(out.view(flat), x.view(flat), {});
    return 0;
  }
  order(stream);
  last_ = stream;
  if (copies) copy(out.view(flat), x.view(flat), stream);
  return 1;
}

Communicator::Ticket SelfCommunicator::all_reduce(Tensor x, ReduceOp /*op*/, Stream stream) {
  check_operand(x);
  return operation(x, x, stream);
}

Communicator::Ticket SelfCommunicator::all_reduce(std::span<const Tensor> xs, ReduceOp /*op*/,
                                                  Stream stream) {
  check_same_type(xs);
  return xs.empty() ? 0 : operation(xs.front(), xs.front(), stream);
}

Communicator::Ticket SelfCommunicator::reduce_scatter(Tensor out, Tensor x, ReduceOp /*op*/, Stream stream) {
  check_parts("reduce_scatter", x, out);
  return operation(out, x, stream);
}

Communicator::Ticket SelfCommunicator::all_gather(Tensor out, Tensor x, Stream stream) {
  check_parts("all_gather", out, x);
  return operation(out, x, stream);
}

Communicator::Ticket SelfCommunicator::all_to_all(Tensor out, Tensor x, Stream stream) {
  check_exchange(out, x);
  return operation(out, x, stream);
}

Communicator::Ticket SelfCommunicator::broadcast(Tensor x, int root, Stream stream) {
  check_operand(x);
  check_root(root);
  return operation(x, x, stream);
}

Communicator::Ticket SelfCommunicator::send(Tensor /*x*/, int to, Stream /*stream*/) {
  check_peer(to);  // there is none
  return 0;
}

Communicator::Ticket SelfCommunicator::receive(Tensor /*x*/, int from, Stream /*stream*/) {
  check_peer(from);
  return 0;
}

void SelfCommunicator::wait(Ticket ticket, Stream stream) {
  if (ticket > 0) order(stream);
}

void SelfCommunicator::barrier() {}

std::unique_ptr<Communicator> SelfCommunicator::split(int color, int /*key*/, std::string name) {
  CHECK_GE(color, 0);
  return std::make_unique<SelfCommunicator>(std::move(name));
}

}  // namespace trireme
