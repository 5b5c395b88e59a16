// dying_rank HOW: sums in a loop until rank 1 goes down in the given way.
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

#include "parallel/process.h"

namespace {

void die(const std::string& how, trireme::Process& process) {
  if (how == "exit") _exit(3);
  if (how == "kill") raise(SIGKILL);
  if (how == "crash") std::abort();
  if (how == "abort") process.abort(7);
}

int run(const std::string& how, int* argc, char*** argv) {
  trireme::Process process(argc, argv);
  trireme::Communicator& world = process.world();
  std::vector<float> x(1'000'000, 1.0F);
  for (int i = 0; i < 100'000; ++i) {
    // An exception frees the tensors, so none may be on its way.
    if (how == "throw" && i == 20 && process.rank() == 1) throw std::runtime_error("rank 1 throws");
    const auto ticket =
        world.all_reduce({x.data(), trireme::DType::kFloat32, {1'000'000}}, trireme::ReduceOp::kMax, {});
    if (i == 20 && process.rank() == 1) die(how, process);
    world.wait(ticket, {});
  }
  return 0;  // nobody died
}

}  // namespace

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  try {
    return run(how, &argc, &argv);
  } catch (const std::runtime_error&) {
    return 2;
  }
}
