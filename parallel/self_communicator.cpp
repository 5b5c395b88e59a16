#include "parallel/self_communicator.h"

#include <cstring>

namespace trireme {

Communicator::Ticket SelfCommunicator::all_reduce(Tensor x, ReduceOp /*op*/, Stream /*stream*/) {
  check_operand(x);
  return 0;
}

Communicator::Ticket SelfCommunicator::broadcast(Tensor x, int root, Stream /*stream*/) {
  check_operand(x);
  check_root(root);
  return 0;
}

Communicator::Ticket SelfCommunicator::all_gather(Tensor out, Tensor x, Stream /*stream*/) {
  check_gather(out, x);
  const std::int64_t bytes = x.num_elements() * size_bytes(x.dtype());
  if (bytes > 0 && out.raw_data() != x.raw_data()) {
    std::memcpy(out.raw_data(), x.raw_data(), static_cast<std::size_t>(bytes));
  }
  return 0;
}

void SelfCommunicator::wait(Ticket /*ticket*/, Stream /*stream*/) {}

void SelfCommunicator::barrier() {}

}  // namespace trireme
