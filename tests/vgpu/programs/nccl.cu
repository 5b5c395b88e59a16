// Two processes, a device each, that talk over NCCL.  Argument: which mistake one of them, or both, make; the
// exit code is that of the first that fails.
#include <chrono>
#include <csignal>
#include <functional>
#include <map>
#include <thread>

#include <nccl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "program.h"

namespace {

constexpr int kRanks = 2;
constexpr int kSize = 1000;

void settle(ncclComm_t comm, ncclResult_t result, int line) {
  while (result == ncclInProgress) ncclCommGetAsyncError(comm, &result);
  if (result == ncclSuccess) return;
  std::fprintf(stderr, "line %d: %s: %s\n", line, ncclGetErrorString(result), ncclGetLastError(comm));
  std::exit(1);
}
#define NCCL(comm, call) settle(comm, call, __LINE__)

// A rank, and what it works with.
struct Rank {
  int rank = 0;
  cudaStream_t stream = nullptr, other = nullptr;
  ncclComm_t comm = nullptr;

  void join(ncclUniqueId id, int device) {
    CUDA(cudaSetDevice(device));
    CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CUDA(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    config.commName = "pair";
    NCCL(comm, ncclCommInitRankConfig(&comm, kRanks, id, rank, &config));
  }
  void leave() {
    CUDA(cudaStreamSynchronize(stream));
    NCCL(comm, ncclCommFinalize(comm));
    ncclCommDestroy(comm);
    CUDA(cudaStreamDestroy(stream));
    CUDA(cudaStreamDestroy(other));
  }
  void sum(float* x, size_t count = kSize) {
    NCCL(comm, ncclAllReduce(x, x, count, ncclFloat, ncclSum, comm, stream));
  }
  void gather(const float* x, float* all) {
    NCCL(comm, ncclAllGather(x, all, kSize, ncclFloat, comm, stream));
  }
  void send(const float* x) { NCCL(comm, ncclSend(x, kSize, ncclFloat, 1 - rank, comm, stream)); }
  void receive(float* x) { NCCL(comm, ncclRecv(x, kSize, ncclFloat, 1 - rank, comm, stream)); }
};

[[noreturn]] void sleep_for_long() {
  std::this_thread::sleep_for(std::chrono::seconds(60));
  std::exit(1);
}

void do_right(Rank& r, float* x, float* more) {
  r.sum(x);
  NCCL(r.comm, ncclGroupStart());
  NCCL(r.comm, ncclSend(x, kSize, ncclFloat, 1 - r.rank, r.comm, r.stream));
  NCCL(r.comm, ncclRecv(more, kSize, ncclFloat, 1 - r.rank, r.comm, r.stream));
  NCCL(r.comm, ncclGroupEnd());
  std::vector<float> host(kSize);
  CUDA(cudaMemcpyAsync(host.data(), more, kSize * sizeof(float), cudaMemcpyDeviceToHost, r.stream));
  CUDA(cudaStreamSynchronize(r.stream));
  EXPECT(host[0] == 3 && host[kSize - 1] == 3);
}

// x holds kSize numbers, `whole` as many for each rank.
using Mistake = std::function<void(Rank& r, float* x, float* whole)>;
const std::map<std::string, Mistake> kMistakes = {
    {"none", do_right},
    {"count", [](Rank& r, float* x, float*) { r.sum(x, kSize - r.rank); }},
    {"type",
     [](Rank& r, float* x, float*) {
       NCCL(r.comm, ncclAllReduce(x, x, kSize, r.rank ? ncclInt : ncclFloat, ncclSum, r.comm, r.stream));
     }},
    {"reduction",
     [](Rank& r, float* x, float*) {
       NCCL(r.comm, ncclAllReduce(x, x, kSize, ncclFloat, r.rank ? ncclMax : ncclSum, r.comm, r.stream));
     }},
    {"root",
     [](Rank& r, float* x, float*) {
       NCCL(r.comm, ncclBroadcast(x, x, kSize, ncclFloat, r.rank, r.comm, r.stream));
     }},
    {"order",
     [](Rank& r, float* x, float* whole) {
       if (r.rank) r.sum(x);
       r.gather(x, whole);
       if (!r.rank) r.sum(x);
     }},
    {"message",
     [](Rank& r, float* x, float*) {
       if (r.rank)
         r.send(x);
       else
         NCCL(r.comm, ncclRecv(x, kSize / 2, ncclFloat, 1, r.comm, r.stream));
     }},
    {"missing",
     [](Rank& r, float* x, float*) {
       r.sum(x);
       if (r.rank) sleep_for_long();
       r.sum(x);
     }},
    {"gone",
     [](Rank& r, float* x, float*) {
       r.sum(x);
       CUDA(cudaStreamSynchronize(r.stream));
       if (r.rank) _exit(0);
       r.sum(x);
     }},
    {"both_send_first",
     [](Rank& r, float* x, float* whole) {
       r.send(x);
       r.receive(whole);
     }},
    {"beyond", [](Rank& r, float* x, float*) { r.sum(x + 1); }},
    {"host_pointer",
     [](Rank& r, float*, float*) {
       static std::vector<float> host(kSize);
       r.sum(host.data());
     }},
    {"uninitialised",
     [](Rank& r, float* x, float*) {
       float* fresh = nullptr;
       CUDA(cudaMalloc(&fresh, kSize * sizeof(float)));
       r.sum(r.rank ? fresh : x);
     }},
    {"missing_event",
     [](Rank& r, float* x, float*) {
       CUDA(cudaMemsetAsync(x, 0, kSize * sizeof(float), r.other));
       r.sum(x);
     }},
    {"read_too_early",
     [](Rank& r, float* x, float* whole) {
       r.gather(x, whole);
       CUDA(cudaMemcpyAsync(x, whole, kSize * sizeof(float), cudaMemcpyDeviceToDevice, r.other));
       CUDA(cudaStreamSynchronize(r.other));
     }},
    {"memory_of_other_device",
     [](Rank& r, float*, float*) {
       CUDA(cudaSetDevice(1 - r.rank));
       DeviceArray<float> there(std::vector<float>(kSize, 1.0f));
       r.sum(there.get());
     }},
    {"stream_of_other_device",
     [](Rank& r, float* x, float*) {
       CUDA(cudaSetDevice(1 - r.rank));
       CUDA(cudaStreamCreate(&r.stream));
       r.sum(x);
     }},
    {"destroyed",
     [](Rank& r, float* x, float*) {
       ncclCommAbort(r.comm);
       r.sum(x);
     }},
    {"busy",
     [](Rank& r, float* x, float*) {
       ncclAllReduce(x, x, kSize, ncclFloat, ncclSum, r.comm, r.stream);
       r.sum(x);
     }},
    // What was begun is not yet on the stream, and the event is before it.
    {"not_settled",
     [](Rank& r, float* x, float*) {
       const ncclResult_t result = ncclAllReduce(x, x, kSize, ncclFloat, ncclSum, r.comm, r.stream);
       cudaEvent_t end;
       CUDA(cudaEventCreate(&end));
       CUDA(cudaEventRecord(end, r.stream));
       CUDA(cudaStreamWaitEvent(r.other, end, 0));
       NCCL(r.comm, result);
       CUDA(cudaMemsetAsync(x, 0, kSize * sizeof(float), r.other));
       CUDA(cudaStreamSynchronize(r.other));
     }},
};

int run(int rank, ncclUniqueId id, const std::string& mistake) {
  if (mistake == "absent" && rank == 1) sleep_for_long();
  Rank r;
  r.rank = rank;
  r.join(id, mistake == "same_device" ? 0 : rank);
  {
    DeviceArray<float> x(std::vector<float>(kSize, 1.0f + static_cast<float>(rank)));
    DeviceArray<float> whole(std::vector<float>(kRanks * kSize));
    const auto found = kMistakes.find(mistake);
    if (found != kMistakes.end()) found->second(r, x.get(), whole.get());
    CUDA(cudaStreamSynchronize(r.stream));
  }
  if (mistake != "leak") r.leave();
  std::puts("fine");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mistake = argc > 1 ? argv[1] : "none";
  ncclUniqueId id;
  ncclGetUniqueId(&id);
  pid_t children[kRanks];
  for (int rank = 0; rank < kRanks; ++rank) {
    children[rank] = fork();
    if (children[rank] == 0) std::exit(run(rank, id, mistake));
  }
  int exit_code = 0;
  for (int ended = 0; ended < kRanks && exit_code == 0; ++ended) {
    int status = 0;
    wait(&status);
    exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  if (exit_code != 0) {
    for (const pid_t child : children) kill(child, SIGKILL);
  }
  return exit_code;
}
