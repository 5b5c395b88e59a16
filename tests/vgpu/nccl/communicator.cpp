#include "tests/vgpu/nccl/communicator.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>

namespace trireme::vgpu {
namespace {

using Clock = std::chrono::steady_clock;
using State = ncclComm::State;

constexpr int kPolls = 3;  // how often what doesn't block is still in progress

double timeout_seconds() {
  static const double seconds = [] {
    const char* const value = std::getenv("TRIREME_VGPU_NCCL_TIMEOUT");
    return value ? std::atof(value) : 300.0;
  }();
  return seconds;
}

std::string ranks(const std::vector<int>& ranks) {
  std::string result;
  for (const int rank : ranks) result += (result.empty() ? "rank " : ", rank ") + std::to_string(rank);
  return result;
}

uint64_t hash(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9e3779b97f4a7c15u + b + 1;
  x = (x ^ x >> 31) * 0xbf58476d1ce4e5b9u;
  return x ^ x >> 29;
}

// The first message between two ranks in a direction connects them, which takes both.
bool is_connected(ncclComm& comm, const Part& part) {
  if (!part.call.is_message() || part.peer == comm.rank) return true;
  const uint64_t mine = part.call.kind == Call::Kind::kSend ? 0 : 1;
  if (comm.connections.insert({part.peer, mine}).second)
    say(comm, part.peer, Key::Kind::kConnect, mine, part.call);
  return Network::get().has(key_of(comm, Key::Kind::kConnect, part.peer, 1 - mine));
}

// --- Splits. ---

struct Wish {
  int32_t color;
  int32_t key;
};

bool may_complete_split(const ncclComm& comm) {
  std::vector<Key> keys;
  for (int rank = 0; rank < comm.size(); ++rank)
    keys.push_back(key_of(comm, Key::Kind::kSplit, rank, comm.num_splits));
  return Network::get().has(keys);
}

void configure(ncclComm& comm, const ncclConfig_t* config) {
  if (config && config->blocking != NCCL_CONFIG_UNDEF_INT) comm.blocks = config->blocking;
  comm.name = config && config->commName ? config->commName : "a communicator";
}

void complete_split(ncclComm& comm) {
  std::vector<Wish> wishes(comm.members.size());
  for (int rank = 0; rank < comm.size(); ++rank) {
    const Frame frame = Network::get().take(key_of(comm, Key::Kind::kSplit, rank, comm.num_splits));
    std::memcpy(&wishes[rank], frame.payload.data(), sizeof(Wish));
  }
  const int color = wishes[comm.rank].color;
  const uint64_t number = comm.num_splits++;
  if (color == NCCL_SPLIT_NOCOLOR) return;
  std::vector<int> order(comm.members.size());
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [&](int rank) { return wishes[rank].color != color; });
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return wishes[a].key < wishes[b].key; });
  auto* const child = new ncclComm;
  child->id = hash(hash(comm.id, number), static_cast<uint64_t>(color));
  for (const int rank : order) child->members.push_back(comm.members[rank]);
  child->rank = static_cast<int>(std::find(order.begin(), order.end(), comm.rank) - order.begin());
  child->mesh = comm.mesh;
  child->device = comm.device;
  child->blocks = comm.blocks;
  configure(*child, &comm.child_config);
  child->name = comm.child_name;
  child->began = Clock::now();
  child->polls_left = child->blocks ? 0 : kPolls;
  live_communicators().insert(child);
  *comm.child = child;
}

// --- Progress. ---

void check_time(const ncclComm& comm, const std::string& what, const std::vector<int>& missing) {
  if (std::chrono::duration<double>(Clock::now() - comm.began).count() < timeout_seconds()) return;
  give_up("missing-rank", text(what, " of '", comm.name, "' on rank ", comm.rank, ": ", ranks(missing),
                               missing.empty() ? "a rank" : "", " never came"));
}

// Members that are gone.
std::vector<int> dead_members(const ncclComm& comm) {
  std::vector<int> dead;
  for (const int gone : Network::get().dead(*comm.mesh)) {
    const auto found = std::find(comm.members.begin(), comm.members.end(), static_cast<uint32_t>(gone));
    if (found != comm.members.end()) dead.push_back(static_cast<int>(found - comm.members.begin()));
  }
  return dead;
}

// Whether what is in progress has come to its end.
bool make_progress(ncclComm& comm) {
  switch (comm.state) {
    case State::kJoining: {
      const std::vector<int> missing = Network::get().missing(*comm.mesh);
      if (!missing.empty()) return check_time(comm, "the making", missing), false;
      std::vector<int> devices = Network::get().devices(*comm.mesh);
      std::sort(devices.begin(), devices.end());
      if (std::adjacent_find(devices.begin(), devices.end()) != devices.end()) {
        comm.error = ncclInvalidUsage;
        comm.last_error = "Duplicate GPU detected : several ranks are on device " +
                          std::to_string(*std::adjacent_find(devices.begin(), devices.end()));
      }
      return true;
    }
    case State::kLaunching: {
      std::vector<int> missing;
      for (const Launch& launch : comm.launching) {
        for (const Part& part : launch.parts)
          if (!is_connected(comm, part)) missing.push_back(part.peer);
      }
      if (!missing.empty()) return check_time(comm, "a connection", missing), false;
      for (const Launch& launch : std::exchange(comm.launching, {})) give_to_stream(launch);
      return true;
    }
    case State::kSplitting:
      if (!may_complete_split(comm)) return check_time(comm, "a split", {}), false;
      complete_split(comm);
      return true;
    case State::kFinalising:
      for (const auto& joint : comm.all_pending()) vgpu_advance(joint->op);
      return comm.all_pending().empty();
    default:
      return true;
  }
}

}  // namespace

Key key_of(const ncclComm& comm, Key::Kind kind, int from, uint64_t number) {
  return {comm.id, kind, comm.members[from], number};
}

void say(ncclComm& comm, int to, Key::Kind kind, uint64_t number, const Call& call, const void* data,
         uint64_t bytes) {
  Network::get().send(*comm.mesh, static_cast<int>(comm.members[to]), key_of(comm, kind, comm.rank, number),
                      call, static_cast<const uint8_t*>(data), bytes);
}

std::set<ncclComm*>& live_communicators() {
  static auto* const live = new std::set<ncclComm*>;
  return *live;
}

ncclComm* join_mesh(const std::string& id, int rank, int size, const ncclConfig_t* config) {
  vgpu_on_stuck(wait_for_peers);
  auto* const comm = new ncclComm;
  for (int i = 0; i < size; ++i) comm->members.push_back(static_cast<uint32_t>(i));
  comm->id = hash(std::hash<std::string>()(id), 0);
  comm->rank = rank;
  cudaGetDevice(&comm->device);
  configure(*comm, config);
  comm->polls_left = comm->blocks ? 0 : kPolls;
  comm->began = Clock::now();
  comm->mesh = Network::get().join(id, {rank, size, comm->device});
  live_communicators().insert(comm);
  return comm;
}

void begin_split(ncclComm& comm, int color, int key, ncclComm** child, const ncclConfig_t* config) {
  *child = nullptr;
  comm.child = child;
  comm.child_config = config ? *config : ncclConfig_t NCCL_CONFIG_INITIALIZER;
  comm.child_name = config && config->commName ? config->commName : comm.name;
  comm.child_config.commName = nullptr;  // the caller's
  comm.state = State::kSplitting;
  comm.began = Clock::now();
  comm.polls_left = comm.blocks ? 0 : kPolls;
  const Wish wish = {color, key};
  for (int rank = 0; rank < comm.size(); ++rank)
    say(comm, rank, Key::Kind::kSplit, comm.num_splits, {}, &wish, sizeof wish);
}

void begin_launch(ncclComm& comm, cudaStream_t stream, std::vector<Part> parts) {
  const int device = vgpu_device_of(stream);
  if (device != comm.device)
    give_up("other-device",
            text("'", comm.name, "' is of device ", comm.device, ", the stream of device ", device));
  comm.launching.push_back({&comm, stream, std::move(parts)});
  comm.state = State::kLaunching;
  comm.began = Clock::now();
  comm.polls_left = comm.blocks ? 0 : kPolls;
}

ncclResult_t advance(ncclComm& comm) {
  if (comm.error != ncclSuccess) return comm.error;
  if (comm.state != State::kReady && comm.state != State::kFinalised) {
    if (comm.polls_left-- > 0 || !make_progress(comm)) return ncclInProgress;
    comm.state = comm.state == State::kFinalising ? State::kFinalised : State::kReady;
    return comm.error;
  }
  const std::vector<int> dead = dead_members(comm);
  if (dead.empty()) return ncclSuccess;
  comm.last_error = ranks(dead) + " of '" + comm.name + "' is gone";
  return ncclRemoteError;
}

void close(ncclComm& comm, bool says_farewell) {
  live_communicators().erase(&comm);
  comm.state = State::kGone;
  const bool is_last = std::none_of(live_communicators().begin(), live_communicators().end(),
                                    [&](const ncclComm* other) { return other->mesh == comm.mesh; });
  if (is_last || !says_farewell) Network::get().leave(comm.mesh, says_farewell);
}

void wait_for_peers(double seconds_waited) {
  Network& network = Network::get();
  network.idle();
  if (std::min(seconds_waited, network.seconds_since_arrival()) < timeout_seconds()) return;
  for (ncclComm* comm : live_communicators()) {
    for (const auto& joint : comm->all_pending()) {
      if (!joint->was_reached) continue;
      std::vector<int> missing;
      for (int rank = 0; rank < comm->size(); ++rank) {
        if (std::any_of(joint->awaited.begin(), joint->awaited.end(),
                        [&](const Key& key) { return key.from == comm->members[rank] && !network.has(key); }))
          missing.push_back(rank);
      }
      const std::vector<int> dead = dead_members(*comm);
      const Part& part = joint->parts[0];
      give_up("missing-rank",
              text(part.call.is_message() ? "message " : "collective ", joint->numbers[0] + 1, " of '",
                   comm->name, "', ", part.call.to_string(), " on rank ", comm->rank, ": ", ranks(missing),
                   " never came", dead.empty() ? "" : text("; ", ranks(dead), " is gone")));
    }
  }
  give_up("missing-rank", "the host waits for a stream that nobody takes further");
}

}  // namespace trireme::vgpu
