#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/vgpu/nccl/network.h"
#include "tests/vgpu/nccl/reduce.h"
#include "tests/vgpu/runtime/library.h"

namespace trireme::vgpu {

// One call inside a group.
struct Part {
  Call call;
  int peer = -1;  // of a message
  const void* from = nullptr;
  void* to = nullptr;
};

struct Launch;
struct Joint;

}  // namespace trireme::vgpu

// A communicator of this process.  Other than the real one it is never freed, so that its use after its end
// is found.
struct ncclComm {
  enum class State { kJoining, kReady, kLaunching, kSplitting, kFinalising, kFinalised, kGone };

  uint64_t id = 0;
  std::string name;
  int rank = 0;
  std::vector<uint32_t> members;  // ranks of the mesh
  std::shared_ptr<trireme::vgpu::Mesh> mesh;
  int device = 0;
  bool blocks = true;

  State state = State::kJoining;
  int polls_left = 0;  // that still find it in progress
  std::chrono::steady_clock::time_point began;
  std::atomic<bool> was_aborted = false;
  ncclResult_t error = ncclSuccess;
  std::string last_error;

  uint64_t num_collectives = 0;
  uint64_t num_splits = 0;
  std::map<int, uint64_t> num_sent, num_received;  // by peer
  std::set<std::pair<int, uint64_t>> connections;  // begun: peer, and 0 to it or 1 from it
  std::vector<trireme::vgpu::Launch> launching;
  std::mutex mutex;  // of `pending`, from which any thread takes what it has completed
  std::set<std::shared_ptr<trireme::vgpu::Joint>> pending;

  // Of the split that is in progress.
  ncclComm** child = nullptr;
  ncclConfig_t child_config;
  std::string child_name;

  std::set<std::shared_ptr<trireme::vgpu::Joint>> all_pending() {
    const std::lock_guard lock(mutex);
    return pending;
  }
  int size() const { return static_cast<int>(members.size()); }
};

namespace trireme::vgpu {

// What one group gives to one stream.
struct Launch {
  ncclComm* comm;
  cudaStream_t stream;
  std::vector<Part> parts;
};

// That, put into the stream: everybody's part of it, which is done when everybody has come.  Of a launch that
// is captured there is one for each time that the graph is launched.
struct Joint {
  ncclComm* comm;
  std::vector<Part> parts;
  std::vector<uint64_t> numbers;  // of the parts: which collective, or message to that peer
  std::vector<Key> awaited;
  uint32_t op = 0;
  bool was_reached = false;
};

// Begin what NCCL begins; `advance` takes it further, in the way of ncclCommGetAsyncError.
ncclComm* join_mesh(const std::string& id, int rank, int size, const ncclConfig_t* config);
void begin_split(ncclComm& comm, int color, int key, ncclComm** child, const ncclConfig_t* config);
void begin_launch(ncclComm& comm, cudaStream_t stream, std::vector<Part> parts);
ncclResult_t advance(ncclComm& comm);
void give_to_stream(const Launch& launch);

// What rank `from` says, and to say it.
Key key_of(const ncclComm& comm, Key::Kind kind, int from, uint64_t number);
void say(ncclComm& comm, int to, Key::Kind kind, uint64_t number, const Call& call,
         const void* data = nullptr, uint64_t bytes = 0);

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

[[noreturn]] inline void give_up(const char* finding, const std::string& what) {
  vgpu_give_up(finding, what.c_str());
}

// Without a farewell the others find this rank gone.
void close(ncclComm& comm, bool says_farewell);

// Communicators that are not destroyed.
std::set<ncclComm*>& live_communicators();

// What a wait of the host that can't go on does.
void wait_for_peers(double seconds_waited);

}  // namespace trireme::vgpu
