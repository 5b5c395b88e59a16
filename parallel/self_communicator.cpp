#include "parallel/self_communicator.h"

#include <glog/logging.h>

#include "kernels/elementwise.h"

namespace trireme {
namespace {

void copy_flat(const Tensor& out, const Tensor& x, Stream stream) {
  if (x.num_elements() == 0 || out.raw_data() == x.raw_data()) return;
  const Shape flat{x.num_elements()};
  const bool on_host = out.device().is_cpu() && x.device().is_cpu();
  copy(out.view(flat), x.view(flat), on_host ? Stream{} : stream);
}

}  // namespace

Communicator::Ticket SelfCommunicator::all_reduce(Tensor x, ReduceOp /*op*/, Stream /*stream*/) {
  check_operand(x);
  return 0;
}

Communicator::Ticket SelfCommunicator::all_reduce(std::span<const Tensor> xs, ReduceOp /*op*/,
                                                  Stream /*stream*/) {
  check_same_type(xs);
  return 0;
}

Communicator::Ticket SelfCommunicator::reduce_scatter(Tensor out, Tensor x, ReduceOp /*op*/, Stream stream) {
  check_parts("reduce_scatter", x, out);
  copy_flat(out, x, stream);
  return 0;
}

Communicator::Ticket SelfCommunicator::all_gather(Tensor out, Tensor x, Stream stream) {
  check_parts("all_gather", out, x);
  copy_flat(out, x, stream);
  return 0;
}

Communicator::Ticket SelfCommunicator::all_to_all(Tensor out, Tensor x, Stream stream) {
  check_exchange(out, x);
  copy_flat(out, x, stream);
  return 0;
}

Communicator::Ticket SelfCommunicator::broadcast(Tensor x, int root, Stream /*stream*/) {
  check_operand(x);
  check_root(root);
  return 0;
}

Communicator::Ticket SelfCommunicator::send(Tensor /*x*/, int to, Stream /*stream*/) {
  check_peer(to);  // there is none
  return 0;
}

Communicator::Ticket SelfCommunicator::receive(Tensor /*x*/, int from, Stream /*stream*/) {
  check_peer(from);
  return 0;
}

void SelfCommunicator::wait(Ticket /*ticket*/, Stream /*stream*/) {}

void SelfCommunicator::barrier() {}

std::unique_ptr<Communicator> SelfCommunicator::split(int color, int /*key*/, std::string name) {
  CHECK_GE(color, 0);
  return std::make_unique<SelfCommunicator>(std::move(name));
}

}  // namespace trireme
