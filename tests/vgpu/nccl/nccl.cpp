// libnccl as far as our communicator calls it: joins the processes of one machine.  Everything of which NCCL
// says that it may still be in progress is so for a while, where it is asked not to block.
#include <cstdio>
#include <cstring>
#include <random>
#include <thread>
#include <utility>

#include "tests/vgpu/nccl/communicator.h"

namespace trireme::vgpu {
namespace {

using State = ncclComm::State;

[[noreturn]] void misuse(const std::string& call, const std::string& what) {
  vgpu_give_up("communicator", (call + ": " + what).c_str());
}

ncclComm& live(ncclComm_t comm, const char* call) {
  if (!comm || !live_communicators().contains(comm))
    misuse(call, comm ? "the communicator was destroyed" : "there is no communicator");
  return *comm;
}

// One that may be given something to do.
ncclComm& ready(ncclComm_t handle, const char* call) {
  ncclComm& comm = live(handle, call);
  if (comm.state == State::kFinalised) misuse(call, "'" + comm.name + "' was finalised");
  if (comm.state != State::kReady) misuse(call, "'" + comm.name + "' is still busy with an earlier call");
  return comm;
}

// What a call returns that has begun something.
ncclResult_t begun(ncclComm& comm) {
  if (!comm.blocks) return ncclInProgress;
  ncclResult_t result = advance(comm);
  for (; result == ncclInProgress; result = advance(comm))
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  return result;
}

// Communicators are used by threads, and operations end in another.
struct Group {
  int depth = 0;
  ncclComm* comm = nullptr;
  cudaStream_t stream = nullptr;
  std::vector<Part> parts;
};
thread_local Group group;

ncclResult_t end_group() {
  if (--group.depth > 0) return ncclSuccess;
  Group ended = std::exchange(group, {});
  if (ended.parts.empty()) return ncclSuccess;
  begin_launch(*ended.comm, ended.stream, std::move(ended.parts));
  return begun(*ended.comm);
}

ncclResult_t add(const char* call, ncclComm_t handle, cudaStream_t stream, const Part& part) {
  ncclComm& comm = ready(handle, call);
  const auto type = static_cast<ncclDataType_t>(part.call.type);
  const auto op = static_cast<ncclRedOp_t>(part.call.reduce_op);
  if (size_of(type) == 0 || (op != ncclSum && op != ncclMax))
    misuse(call, "the virtual NCCL knows not this type or sum");
  const int other = part.call.is_message() ? part.peer : part.call.root;
  if (other < 0 || other >= comm.size()) return ncclInvalidArgument;
  if (group.depth > 0 && group.comm && (group.comm != &comm || group.stream != stream))
    misuse(call, "the virtual NCCL knows only groups of one communicator and stream");
  ++group.depth;
  group.comm = &comm;
  group.stream = stream;
  group.parts.push_back(part);
  return end_group();
}

Call call_of(Call::Kind kind, size_t count, ncclDataType_t type, ncclRedOp_t op = ncclSum, int root = 0) {
  return {kind, type, op, root, count};
}

// At exit, before libcudart looks for what wasn't freed.
[[gnu::destructor]] void finish() {
  if (vgpu_exit_status() == 0 && !live_communicators().empty()) {
    const ncclComm& comm = **live_communicators().begin();
    vgpu_give_up("leak", (std::to_string(live_communicators().size()) +
                          " communicators are not destroyed at exit, one is rank " +
                          std::to_string(comm.rank) + " of '" + comm.name + "'")
                             .c_str());
  }
  if (Network::is_running()) Network::get().stop();
}

}  // namespace
}  // namespace trireme::vgpu

using namespace trireme::vgpu;

extern "C" {

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclInvalidArgument:
      return "invalid argument";
    case ncclInvalidUsage:
      return "invalid usage";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclInProgress:
      return "NCCL operation in progress";
    case ncclUnhandledCudaError:
      return "unhandled cuda error";
    default:
      return "internal error";
  }
}

const char* ncclGetLastError(ncclComm_t comm) {
  return comm ? comm->last_error.c_str() : "";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::random_device random;
  *id = {};
  std::snprintf(id->internal, sizeof id->internal, "%08x%08x%08x%08x", random(), random(), random(),
                random());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int num_ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  if (num_ranks < 1 || rank < 0 || rank >= num_ranks) return ncclInvalidArgument;
  *comm = join_mesh(id.internal, rank, num_ranks, config);
  return begun(**comm);
}

ncclResult_t ncclCommSplit(ncclComm_t handle, int color, int key, ncclComm_t* child, ncclConfig_t* config) {
  ncclComm& comm = ready(handle, "ncclCommSplit");
  begin_split(comm, color, key, child, config);
  const ncclResult_t result = begun(comm);
  return result == ncclSuccess && *child ? begun(**child) : result;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t handle, ncclResult_t* error) {
  *error = advance(live(handle, "ncclCommGetAsyncError"));
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t handle) {
  ncclComm& comm = ready(handle, "ncclCommFinalize");
  comm.state = State::kFinalising;
  comm.polls_left = 1;
  return begun(comm);
}

ncclResult_t ncclCommDestroy(ncclComm_t handle) {
  ncclComm& comm = live(handle, "ncclCommDestroy");
  if (!comm.all_pending().empty() || !comm.launching.empty())
    misuse("ncclCommDestroy", "operations of '" + comm.name + "' are under way");
  close(comm, /*says_farewell=*/true);
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t handle) {
  ncclComm& comm = live(handle, "ncclCommAbort");
  comm.was_aborted = true;
  close(comm, /*says_farewell=*/false);
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ++group.depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  if (group.depth == 0) return ncclInvalidUsage;
  return end_group();
}

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  return add("ncclAllReduce", comm, stream, {call_of(Call::Kind::kAllReduce, count, type, op), -1, from, to});
}

ncclResult_t ncclReduceScatter(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
  return add("ncclReduceScatter", comm, stream,
             {call_of(Call::Kind::kReduceScatter, count, type, op), -1, from, to});
}

ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return add("ncclAllGather", comm, stream, {call_of(Call::Kind::kAllGather, count, type), -1, from, to});
}

ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  return add("ncclBroadcast", comm, stream,
             {call_of(Call::Kind::kBroadcast, count, type, ncclSum, root), -1, from, to});
}

ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add("ncclSend", comm, stream, {call_of(Call::Kind::kSend, count, type), peer, from, nullptr});
}

ncclResult_t ncclRecv(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add("ncclRecv", comm, stream, {call_of(Call::Kind::kReceive, count, type), peer, nullptr, to});
}

}  // extern "C"
