// What NCCL moves between the GPUs of this job, one per rank:
//
//     mpirun -np 8 nccl_benchmark            (tests/gpu.sh table)
//     mpirun -np 2 nccl_benchmark --smoke    one small size, to see that it works
//
// Bus bandwidth is what nccl-tests calls so: the bytes that a link must carry at least, a second, whatever
// the number of ranks n: 2 (n - 1) / n of the tensor for a sum that all get, (n - 1) / n where each has a
// part.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>

#include "kernels/speed_of_light.h"
#include "parallel/nccl_communicator.h"
#include "parallel/process.h"
#include "tests/benchmarks/device_operands.h"

namespace trireme {
namespace {

// Seconds of one operation of many that follow each other, as on all ranks.
double seconds_of(Communicator& ranks, Stream stream, int count,
                  const std::function<Communicator::Ticket()>& begin) {
  ranks.wait(begin(), stream);
  stream.synchronize();
  ranks.barrier();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) ranks.wait(begin(), stream);
  stream.synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / count;
}

void print_size(Communicator& ranks, Device device, std::int64_t size_bytes, int count) {
  const DeviceStream stream(device);
  DeviceOperands make(device);
  const std::int64_t n = ranks.size();
  const std::int64_t part = size_bytes / 4 / n;
  const Tensor x = make.zeros(DType::kFloat32, {n * part});
  const Tensor own = make.zeros(DType::kFloat32, {part});
  const double bytes = 4.0 * static_cast<double>(n * part);
  const double share = static_cast<double>(n - 1) / static_cast<double>(n);
  const auto rate = [&](double moved, const std::function<Communicator::Ticket()>& begin) {
    return moved / seconds_of(ranks, stream, count, begin) * 1e-9;
  };
  const double all_reduce =
      rate(2.0 * share * bytes, [&] { return ranks.all_reduce(x, ReduceOp::kSum, stream); });
  const double reduce_scatter =
      rate(share * bytes, [&] { return ranks.reduce_scatter(own, x, ReduceOp::kSum, stream); });
  const double all_gather = rate(share * bytes, [&] { return ranks.all_gather(x, own, stream); });
  if (ranks.rank() > 0) return;
  std::printf("%10.1f %12.1f %14.1f %12.1f\n", bytes / (1 << 20), all_reduce, reduce_scatter, all_gather);
  std::fflush(stdout);
}

int run(int argc, char** argv) {
  const bool smoke = argc > 1 && std::strcmp(argv[1], "--smoke") == 0;
  Process process(&argc, &argv);
  const bool speaks = process.rank() == 0;
  if (!kHasNccl || num_devices(DeviceType::kCuda) < process.num_local_ranks()) {
    if (speaks) std::printf("nccl_benchmark is skipped: it needs NCCL and a GPU for each rank\n");
    return 0;
  }
  const Device device{DeviceType::kCuda, process.local_rank()};
  const std::unique_ptr<Communicator> ranks = nccl_communicator(process.world(), device);
  if (speaks) {
    if (smoke) std::printf("smoke: the numbers mean nothing\n");
    std::printf("%d ranks, each with %s; bus bandwidth, GB/s\n", ranks->size(), device_words(device).c_str());
    std::printf("%10s %12s %14s %12s\n", "MiB", "all_reduce", "reduce_scatter", "all_gather");
  }
  if (smoke) {
    print_size(*ranks, device, 4096, 1);
    return 0;
  }
  for (std::int64_t size_bytes = 1 << 20; size_bytes <= std::int64_t{1} << 30; size_bytes *= 4)
    print_size(*ranks, device, size_bytes, 20);
  return 0;
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  return trireme::run(argc, argv);
}
