#include <algorithm>
#include <cstring>

#include "tests/vgpu/nccl/communicator.h"

namespace trireme::vgpu {
namespace {

uint64_t bytes_of(const Call& call) {
  return call.count * size_of(static_cast<ncclDataType_t>(call.type));
}

// What is read and written by a part, in this order, without what is empty.
struct Memory {
  const void* begin;
  uint64_t bytes;
  bool is_read, is_written;
};

std::vector<Memory> memory_of(const ncclComm& comm, const Part& part) {
  const uint64_t bytes = bytes_of(part.call), n = comm.members.size();
  const bool is_root = part.call.root == comm.rank;
  const bool in_place = part.from == part.to;
  std::vector<Memory> memory;
  switch (part.call.kind) {
    case Call::Kind::kAllReduce:
      memory = {{part.from, bytes, true, in_place}};
      if (!in_place) memory.push_back({part.to, bytes, false, true});
      break;
    case Call::Kind::kReduceScatter:
      memory = {{part.from, bytes * n, true, false}, {part.to, bytes, false, true}};
      break;
    case Call::Kind::kAllGather:
      memory = {{part.from, bytes, true, false}, {part.to, bytes * n, false, true}};
      break;
    case Call::Kind::kBroadcast:
      if (is_root) memory.push_back({part.from, bytes, true, false});
      if (!is_root || !in_place) memory.push_back({part.to, bytes, false, true});
      break;
    case Call::Kind::kSend:
      memory = {{part.from, bytes, true, false}};
      break;
    case Call::Kind::kReceive:
      memory = {{part.to, bytes, false, true}};
      break;
  }
  std::erase_if(memory, [](const Memory& m) { return m.bytes == 0; });
  return memory;
}

// Where the operands of a joint lie, by the addresses that the program gave.
class Places {
 public:
  Places(const Joint& joint, uint8_t* const* bytes) {
    for (const Part& part : joint.parts)
      for (const Memory& m : memory_of(*joint.comm, part)) places_.push_back({m, *bytes++});
  }
  uint8_t* operator()(const void* address) const {
    for (const auto& [memory, data] : places_) {
      const auto offset = static_cast<const uint8_t*>(address) - static_cast<const uint8_t*>(memory.begin);
      if (offset >= 0 && static_cast<uint64_t>(offset) < memory.bytes) return data + offset;
    }
    return nullptr;  // of an empty operand
  }

 private:
  std::vector<std::pair<Memory, uint8_t*>> places_;
};

// Gives the others what they need of this rank.
void publish(Joint& joint, const Places& places) {
  ncclComm& comm = *joint.comm;
  for (size_t i = 0; i < joint.parts.size(); ++i) {
    const Part& part = joint.parts[i];
    const uint64_t bytes = bytes_of(part.call), number = joint.numbers[i];
    const uint8_t* const from = places(part.from);
    if (part.call.kind == Call::Kind::kSend) {
      say(comm, part.peer, Key::Kind::kSent, number, part.call, from, bytes);
      continue;
    }
    if (part.call.kind == Call::Kind::kReceive) {
      say(comm, part.peer, Key::Kind::kWanted, number, part.call);
      continue;
    }
    for (int peer = 0; peer < comm.size(); ++peer) {
      if (peer == comm.rank) continue;
      const bool scatters = part.call.kind == Call::Kind::kReduceScatter;
      const bool gives = part.call.kind != Call::Kind::kBroadcast || part.call.root == comm.rank;
      say(comm, peer, Key::Kind::kCollective, number, part.call,
          scatters && from ? from + bytes * peer : from, gives ? bytes : 0);
    }
  }
}

void check_same(const ncclComm& comm, const Part& part, uint64_t number, int peer, const Call& theirs) {
  const bool same = part.call.is_message() ? theirs.count == part.call.count && theirs.type == part.call.type
                                           : theirs == part.call;
  if (same) return;
  give_up("mismatch", text(part.call.is_message() ? "message " : "collective ", number + 1, " of '",
                           comm.name, "': rank ", comm.rank, " calls ", part.call.to_string(), ", rank ",
                           peer, " calls ", theirs.to_string()));
}

void complete_collective(ncclComm& comm, const Part& part, uint64_t number, const Places& places) {
  const uint64_t bytes = bytes_of(part.call);
  std::vector<Frame> frames(comm.members.size());
  for (int peer = 0; peer < comm.size(); ++peer) {
    if (peer == comm.rank) continue;
    frames[peer] = Network::get().take(key_of(comm, Key::Kind::kCollective, peer, number));
    check_same(comm, part, number, peer, frames[peer].call);
  }
  if (bytes == 0) return;
  const uint8_t* const from = places(part.from);
  uint8_t* const to = places(part.to);
  const Call& call = part.call;
  const bool scatters = call.kind == Call::Kind::kReduceScatter;
  std::vector<const uint8_t*> terms;
  for (int rank = 0; rank < comm.size(); ++rank)
    terms.push_back(rank != comm.rank ? frames[rank].payload.data() : scatters ? from + bytes * rank : from);
  switch (call.kind) {
    case Call::Kind::kAllGather:
      for (int rank = 0; rank < comm.size(); ++rank) std::memmove(to + bytes * rank, terms[rank], bytes);
      break;
    case Call::Kind::kBroadcast:
      if (to) std::memmove(to, terms[call.root], bytes);
      break;
    default:
      reduce(to, terms, call.count, static_cast<ncclDataType_t>(call.type),
             static_cast<ncclRedOp_t>(call.reduce_op));
  }
}

void complete_message(ncclComm& comm, const Part& part, uint64_t number, const Places& places) {
  const bool is_sent = part.call.kind == Call::Kind::kSend;
  const Frame frame =
      Network::get().take(key_of(comm, is_sent ? Key::Kind::kWanted : Key::Kind::kSent, part.peer, number));
  check_same(comm, part, number, part.peer, frame.call);
  if (!is_sent && !frame.payload.empty())
    std::memcpy(places(part.to), frame.payload.data(), frame.payload.size());
}

// From here on peers are waited for.
void* begin(void* context, uint32_t op) {
  const auto& launch = *static_cast<const Launch*>(context);
  ncclComm& comm = *launch.comm;
  const auto joint = std::make_shared<Joint>();
  joint->comm = &comm;
  joint->parts = launch.parts;
  joint->op = op;
  for (const Part& part : joint->parts) {
    const bool is_sent = part.call.kind == Call::Kind::kSend;
    if (part.call.is_message()) {
      const uint64_t number = (is_sent ? comm.num_sent : comm.num_received)[part.peer]++;
      joint->numbers.push_back(number);
      joint->awaited.push_back(
          key_of(comm, is_sent ? Key::Kind::kWanted : Key::Kind::kSent, part.peer, number));
      continue;
    }
    const uint64_t number = comm.num_collectives++;
    joint->numbers.push_back(number);
    for (int peer = 0; peer < comm.size(); ++peer)
      if (peer != comm.rank) joint->awaited.push_back(key_of(comm, Key::Kind::kCollective, peer, number));
  }
  {
    const std::lock_guard lock(comm.mutex);
    comm.pending.insert(joint);
  }
  Network::get().expect(joint->awaited, op);
  return new std::shared_ptr<Joint>(joint);
}

void end(void* begun) {
  delete static_cast<std::shared_ptr<Joint>*>(begun);
}

int attempt(void* begun, uint8_t* const* bytes) {
  const std::shared_ptr<Joint> joint = *static_cast<std::shared_ptr<Joint>*>(begun);
  ncclComm& comm = *joint->comm;
  if (!comm.was_aborted) {
    const Places places(*joint, bytes);
    if (!joint->was_reached) publish(*joint, places);
    joint->was_reached = true;
    if (!Network::get().has(joint->awaited)) return 0;
    for (size_t i = 0; i < joint->parts.size(); ++i) {
      const Part& part = joint->parts[i];
      (part.call.is_message() ? complete_message : complete_collective)(comm, part, joint->numbers[i],
                                                                        places);
    }
  }
  Network::get().forget(joint->awaited, joint->op);
  const std::lock_guard lock(comm.mutex);
  comm.pending.erase(joint);
  return 1;
}

void release(void* context) {
  delete static_cast<Launch*>(context);
}

const char* name_of(Call::Kind kind) {
  constexpr const char* kNames[] = {"AllReduce", "ReduceScatter", "AllGather", "Broadcast", "Send", "Recv"};
  return kNames[static_cast<int>(kind)];
}

}  // namespace

std::string Call::to_string() const {
  std::string result = name_of(kind);
  if (kind == Kind::kAllReduce || kind == Kind::kReduceScatter)
    result += reduce_op == ncclSum ? "(sum)" : "(max)";
  result += text(" of ", count, " ", trireme::vgpu::name_of(static_cast<ncclDataType_t>(type)));
  if (kind == Kind::kBroadcast) result += text(" from rank ", root);
  return result;
}

void give_to_stream(const Launch& launch) {
  ncclComm& comm = *launch.comm;
  std::vector<VgpuOperand> operands;
  for (const Part& part : launch.parts)
    for (const Memory& m : memory_of(comm, part))
      operands.push_back(
          {const_cast<void*>(m.begin), m.bytes, m.bytes, 1, int(m.is_written), int(m.is_read)});
  const std::string name = std::string("nccl") + name_of(launch.parts[0].call.kind);
  const cudaError_t error =
      vgpu_submit_joint(name.c_str(), launch.stream, operands.data(), int(operands.size()),
                        {begin, attempt, end, release}, new Launch(launch));
  if (error != cudaSuccess) {
    comm.error = ncclUnhandledCudaError;
    comm.last_error = cudaGetErrorString(error);
  }
}

}  // namespace trireme::vgpu
