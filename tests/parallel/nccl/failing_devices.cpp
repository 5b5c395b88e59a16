// failing_devices HOW: ranks of a device each, of which one does something wrong, or goes down.
#include <chrono>
#include <csignal>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include "kernels/buffer.h"
#include "parallel/nccl_communicator.h"
#include "parallel/process.h"

namespace {

using namespace trireme;

constexpr std::int64_t kSize = 100;

void fail(const std::string& how, Process& process, Communicator& devices, Device device) {
  const bool odd = process.rank() == 1;
  const DeviceStream own(device);
  const Stream stream = own;
  Buffer memory(kSize * 4, device);
  memory.zero();
  const Tensor x = memory.tensor(DType::kFloat32, {kSize});
  const Tensor n = memory.tensor(DType::kInt32, {kSize});
  const auto sum = [&](Tensor operand) {
    devices.wait(devices.all_reduce(operand, ReduceOp::kSum, stream), stream);
  };
  sum(x);
  if (how == "count") sum(odd ? x.slice(0, 0, 99) : x);
  if (how == "type") sum(odd ? n : x);
  if (how == "operation" && odd) devices.wait(devices.broadcast(x, 0, stream), stream);
  if (how == "operation" && !odd) sum(x);
  if (how == "message") {
    devices.open_messages();
    const auto ticket = odd ? devices.send(x.slice(0, 0, 50), 0, stream) : devices.receive(x, 1, stream);
    // Lazy streams give the comparison a chance to come before the message.
    if (odd) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    devices.wait(ticket, stream);
  }
  if (how == "unopened") devices.send(x, odd ? 0 : 1, stream);
  if (how == "far") {
    devices.open_messages();
    if (process.rank() == 0) devices.send(x, 2, stream);
  }
  if (how == "forgotten") {
    devices.open_messages();
    const auto message = [&] { return odd ? devices.send(x, 0, stream) : devices.receive(x, 1, stream); };
    const auto first = message();
    for (int i = 0; i < 128; ++i) message();
    devices.wait(first, stream);
  }
  if (how == "stream") devices.all_reduce(x, ReduceOp::kSum, {});
  if (how == "late") {  // longer than it is waited for
    if (odd) std::this_thread::sleep_for(std::chrono::seconds(20));
    devices.open_messages();
  }
  if (how == "exit" || how == "kill" || how == "throw") {
    stream.synchronize();
    if (odd && how == "exit") _exit(3);
    if (odd && how == "kill") raise(SIGKILL);
    if (odd && how == "throw") throw std::runtime_error("rank 1 throws");
    sum(x);
  }
  devices.barrier();
}

void run(const std::string& how, Process& process) {
  const Device device{DeviceType::kCuda, how == "device" ? 0 : process.local_rank()};
  const auto devices =
      nccl_communicator(process.world(), device, std::chrono::seconds(how == "late" ? 2 : 60));
  fail(how, process, *devices, device);
}

}  // namespace

int main(int argc, char** argv) {
  Process process(&argc, &argv);
  try {
    run(argc > 1 ? argv[1] : "", process);
  } catch (const std::runtime_error&) {
    // The others see the communicator gone before mpirun sees this process gone.
    std::this_thread::sleep_for(std::chrono::seconds(20));
    process.abort(2);
  }
  return 0;
}
