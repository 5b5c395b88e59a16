// disagreeing_ranks HOW: three ranks of which one calls something else than the others, in the given way.
#include <string>
#include <vector>

#include "parallel/process.h"

namespace {

using namespace trireme;

void disagree(const std::string& how, Process& process) {
  Communicator& world = process.world();
  const bool odd = process.rank() == 1;
  std::vector<float> x(100, 1.0F);
  std::vector<std::int32_t> n(100, 1);
  const Tensor floats(x.data(), DType::kFloat32, {100});
  const Tensor ints(n.data(), DType::kInt32, {100});
  Communicator::Ticket ticket = world.all_reduce(floats, ReduceOp::kSum, {});
  if (how == "operation") {
    ticket = odd ? world.broadcast(floats, 0, {}) : world.all_reduce(floats, ReduceOp::kSum, {});
  } else if (how == "count") {
    ticket = world.all_reduce(odd ? floats.slice(0, 0, 99) : floats, ReduceOp::kSum, {});
  } else if (how == "type") {
    ticket = world.all_reduce(odd ? ints : floats, ReduceOp::kSum, {});
  } else if (how == "reduction") {
    ticket = world.all_reduce(floats, odd ? ReduceOp::kMax : ReduceOp::kSum, {});
  } else if (how == "root") {
    ticket = world.broadcast(floats, odd ? 1 : 0, {});
  } else if (how == "missing") {
    if (!odd) ticket = world.all_reduce(floats, ReduceOp::kSum, {});
  } else if (how == "group") {
    const auto group = world.split(process.rank() == 0 ? 1 : 0, 0, "dp");
    ticket = group->all_reduce(odd ? ints : floats, ReduceOp::kSum, {});
    group->wait(ticket, {});
    return;
  } else if (how == "message") {
    if (odd) ticket = world.send(floats.slice(0, 0, 50), 2, {});
    if (process.rank() == 2) ticket = world.receive(floats, 1, {});
  }
  world.wait(ticket, {});
}

}  // namespace

int main(int argc, char** argv) {
  Process process(&argc, &argv);
  disagree(argc > 1 ? argv[1] : "", process);
  return 0;
}
