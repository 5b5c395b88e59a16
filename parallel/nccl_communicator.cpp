#include "parallel/nccl_communicator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "kernels/buffer.h"
#include "kernels/cuda/stream_state.h"
#include "parallel/mpi_call_check.h"
#include "parallel/mpi_communicator.h"
#include "parallel/nccl_lane.h"
#include "parallel/self_communicator.h"

namespace trireme {
namespace {

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return ncclFloat32;
    case DType::kBfloat16:
      return ncclBfloat16;
    case DType::kInt32:
      return ncclInt32;
  }
  LOG(FATAL) << name(dtype) << " over NCCL";
}

ncclRedOp_t nccl_op(ReduceOp op) {
  return op == ReduceOp::kSum ? ncclSum : ncclMax;
}

std::size_t count_of(const Tensor& x) {
  return static_cast<std::size_t>(x.num_elements());
}

std::int64_t bytes_of(const Tensor& x) {
  return x.num_elements() * size_bytes(x.dtype());
}

char* part_of(const Tensor& x, int rank, int num_parts) {
  return static_cast<char*>(x.raw_data()) + bytes_of(x) / num_parts * rank;
}

// Lanes: of the collectives, then of messages to and from each neighbour.
enum LaneIndex : std::size_t { kCollectives, kToNext, kFromPrevious, kToPrevious, kFromNext, kNumLanes };

// A ticket says of which lane, or of the host communicator, and the number there.
constexpr std::uint64_t kHost = 7;
constexpr int kLaneBits = 3;

Communicator::Ticket ticket_of(std::uint64_t lane, std::uint64_t number) {
  return number << kLaneBits | lane;
}

}  // namespace

struct NcclCommunicator::Impl {
  const Device device;
  const std::chrono::seconds timeout;
  const std::unique_ptr<Communicator> host;
  MpiCommunicator& mpi;  // the same, which compares calls
  const int rank;
  const int size;
  const int num_exceptions = std::uncaught_exceptions();  // under way when it was made
  std::array<std::unique_ptr<NcclLane>, kNumLanes> lanes;
  std::array<std::vector<Ticket>, kNumLanes> comparisons;  // of messages, which wait() waits for
  std::int64_t num_calls = 0;
  std::int64_t bytes_received = 0;

  Impl(std::unique_ptr<Communicator> new_host, Device new_device, std::chrono::seconds new_timeout)
      : device(new_device),
        timeout(new_timeout),
        host(std::move(new_host)),
        mpi(dynamic_cast<MpiCommunicator&>(*host)),
        rank(host->rank()),
        size(host->size()) {
    cuda::make_current(device);
    lanes[kCollectives] = new_lane();
  }

  std::unique_ptr<NcclLane> new_lane() const {
    return std::make_unique<NcclLane>(host->name(), device, timeout, kMostUnderWay);
  }
  NcclComm& comm() { return lanes[kCollectives]->comm; }

  int next() const { return (rank + 1) % size; }
  int previous() const { return (rank + size - 1) % size; }

  static Ticket of_host(Ticket ticket) { return ticket_of(kHost, ticket); }

  void check_stream(const Tensor& x, Stream stream) const {
    CHECK(x.device() == device) << host->name() << ": a tensor of " << x.device().to_string()
                                << " given to a rank on " << device.to_string();
    CHECK(stream.device() == device) << host->name() << ": a tensor of " << device.to_string()
                                     << " with a stream of " << stream.device().to_string();
  }

  template <typename Enqueue>
  Ticket collective(const char* name, const MpiCall& call, const Tensor& x, std::int64_t bytes, Stream stream,
                    Enqueue enqueue) {
    check_stream(x, stream);
    host->wait(mpi.compare(call), {});
    ++num_calls;
    bytes_received += bytes;
    NcclLane& lane = *lanes[kCollectives];
    lane.submit(name, stream, enqueue);
    return ticket_of(kCollectives, lane.num_operations);
  }

  template <typename Enqueue>
  Ticket message(const char* name, LaneIndex index, const MpiCall& call, const Tensor& x, std::int64_t bytes,
                 Stream stream, Enqueue enqueue) {
    check_stream(x, stream);
    CHECK(lanes[index]) << host->name() << ": a message before open_messages()";
    NcclLane& lane = *lanes[index];
    // Not before the collectives that came before.
    const NcclLane& collectives = *lanes[kCollectives];
    if (collectives.num_operations > 0) collectives.end_of(collectives.num_operations).make_wait(lane.stream);
    comparisons[index].resize(kMostUnderWay);
    comparisons[index][lane.num_operations % kMostUnderWay] = mpi.compare(call);
    ++num_calls;
    bytes_received += bytes;
    lane.submit(name, stream, enqueue);
    return ticket_of(index, lane.num_operations);
  }

  // Bytes of x that all_reduce brings: a slice from every other rank, and the others' slices reduced.
  std::int64_t bytes_of_all_reduce(std::int64_t elements, DType dtype) const {
    const std::int64_t mine = elements / size + (rank < elements % size ? 1 : 0);
    return ((size - 1) * mine + elements - mine) * size_bytes(dtype);
  }

  // The lane of messages to or from a peer.
  LaneIndex lane_with(int peer, LaneIndex beyond, LaneIndex behind) const {
    if (peer == (beyond == kToNext ? next() : previous())) return beyond;
    CHECK(peer == next() || peer == previous())
        << host->name() << ": messages go between neighbours, and rank " << peer << " of " << size
        << " is none of rank " << rank;
    return behind;
  }
  void open_lane(LaneIndex index, int color, int key, bool is_in) {
    auto lane = new_lane();
    lane->comm.split_from(comm(), is_in ? color : NCCL_SPLIT_NOCOLOR, key);
    if (!is_in) return;
    connect(*lane, index == kToNext || index == kToPrevious);
    lanes[index] = std::move(lane);
  }
  void open_direction(LaneIndex to, LaneIndex from, bool is_upwards);
  void connect(NcclLane& lane, bool sends);

  void check_peers() {
    for (const auto& lane : lanes) {
      if (lane) lane->comm.check();
    }
  }
  // Returns when all that was submitted is done.
  void drain() {
    poll([this] {
      return std::all_of(lanes.begin(), lanes.end(),
                         [](const auto& lane) { return !lane || lane->is_done(); });
    });
  }
  template <typename IsDone>
  void poll(IsDone is_done) {
    Patience patience;
    while (!is_done()) {
      check_peers();
      patience.pause();
    }
  }
};

// The pairs (e, e + 1) around the ring, each of which becomes a group.  A rank is in one pair of even e at
// most, in one of odd e, and a last e that is even stands alone: they take turns.
void NcclCommunicator::Impl::open_direction(LaneIndex to, LaneIndex from, bool is_upwards) {
  const auto turn_of = [&](int edge) { return edge == size - 1 && edge % 2 == 0 ? 2 : edge % 2; };
  for (int turn = 0; turn < 2 + size % 2; ++turn) {
    const bool is_lower = turn_of(rank) == turn;
    const bool is_upper = turn_of(previous()) == turn;
    const bool sends = is_lower == is_upwards;
    open_lane(sends ? to : from, is_lower ? rank : previous(), sends ? 0 : 1, is_lower || is_upper);
  }
}

// NCCL connects two ranks at their first message, and that takes both at once, which a receive that is posted
// ahead can't wait for.
void NcclCommunicator::Impl::connect(NcclLane& lane, bool sends) {
  Buffer word(size_bytes(DType::kInt32), device);
  word.zero();
  lane.submit("the first message", lane.stream, [&](ncclComm_t comm, cudaStream_t stream) {
    return sends ? ncclSend(word.data(), 1, ncclInt32, 1, comm, stream)
                 : ncclRecv(word.data(), 1, ncclInt32, 0, comm, stream);
  });
  poll([&] { return lane.is_done(); });
}

std::unique_ptr<Communicator> nccl_communicator(Communicator& host, Device device,
                                                std::chrono::seconds timeout) {
  if (host.size() == 1) return std::make_unique<SelfCommunicator>(host.name());
  auto impl =
      std::make_unique<NcclCommunicator::Impl>(host.split(0, host.rank(), host.name()), device, timeout);
  ncclUniqueId id{};
  if (impl->rank == 0) {
    const ncclResult_t result = ncclGetUniqueId(&id);
    if (result != ncclSuccess) end_job(std::string("ncclGetUniqueId: ") + ncclGetErrorString(result));
  }
  std::array<std::int32_t, sizeof(id) / sizeof(std::int32_t)> words{};
  std::memcpy(words.data(), &id, sizeof(id));
  host.wait(host.broadcast({words.data(), DType::kInt32, {std::ssize(words)}}, 0, {}), {});
  std::memcpy(&id, words.data(), sizeof(id));
  impl->comm().join(id, impl->rank, impl->size);
  return std::make_unique<NcclCommunicator>(std::move(impl));
}

NcclCommunicator::NcclCommunicator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

NcclCommunicator::~NcclCommunicator() {
  if (std::uncaught_exceptions() > impl_->num_exceptions) {
    // Peers may never join what the device waits for.
    for (const auto& lane : impl_->lanes) {
      if (lane) lane->comm.abandon();
    }
    [[maybe_unused]] Impl* abandoned = impl_.release();
    return;
  }
  impl_->drain();
  for (const auto& lane : impl_->lanes) {
    if (lane) lane->comm.finalize();
  }
}

int NcclCommunicator::rank() const {
  return impl_->rank;
}

int NcclCommunicator::size() const {
  return impl_->size;
}

const std::string& NcclCommunicator::name() const {
  return impl_->host->name();
}

Communicator::Ticket NcclCommunicator::all_reduce(Tensor x, ReduceOp op, Stream stream) {
  if (x.device().is_cpu()) return Impl::of_host(impl_->host->all_reduce(x, op, stream));
  return all_reduce(std::span<const Tensor>(&x, 1), op, stream);
}

Communicator::Ticket NcclCommunicator::all_reduce(std::span<const Tensor> xs, ReduceOp op, Stream stream) {
  if (xs.empty()) return 0;
  if (xs.front().device().is_cpu()) return Impl::of_host(impl_->host->all_reduce(xs, op, stream));
  check_same_type(xs);
  std::int64_t elements = 0;
  for (const Tensor& x : xs) {
    CHECK(x.device() == xs.front().device()) << name() << ": tensors of several devices in one all_reduce";
    elements += x.num_elements();
  }
  const DType dtype = xs.front().dtype();
  return impl_->collective(
      "ncclAllReduce",
      {.kind = MpiCall::Kind::kAllReduce, .reduce_op = op, .dtype = dtype, .num_elements = elements},
      xs.front(), impl_->bytes_of_all_reduce(elements, dtype), stream, [&](ncclComm_t comm, cudaStream_t on) {
        ncclGroupStart();
        for (const Tensor& x : xs) {
          const ncclResult_t result =
              ncclAllReduce(x.raw_data(), x.raw_data(), count_of(x), nccl_type(dtype), nccl_op(op), comm, on);
          if (result != ncclSuccess && result != ncclInProgress) return result;
        }
        return ncclGroupEnd();
      });
}

Communicator::Ticket NcclCommunicator::reduce_scatter(Tensor out, Tensor x, ReduceOp op, Stream stream) {
  if (x.device().is_cpu()) return Impl::of_host(impl_->host->reduce_scatter(out, x, op, stream));
  check_parts("reduce_scatter", x, out);
  return impl_->collective("ncclReduceScatter",
                           {.kind = MpiCall::Kind::kReduceScatter,
                            .reduce_op = op,
                            .dtype = x.dtype(),
                            .num_elements = out.num_elements()},
                           x, bytes_of(out) * (size() - 1), stream, [&](ncclComm_t comm, cudaStream_t on) {
                             return ncclReduceScatter(x.raw_data(), out.raw_data(), count_of(out),
                                                      nccl_type(x.dtype()), nccl_op(op), comm, on);
                           });
}

Communicator::Ticket NcclCommunicator::all_gather(Tensor out, Tensor x, Stream stream) {
  if (x.device().is_cpu()) return Impl::of_host(impl_->host->all_gather(out, x, stream));
  check_parts("all_gather", out, x);
  return impl_->collective(
      "ncclAllGather",
      {.kind = MpiCall::Kind::kAllGather, .dtype = x.dtype(), .num_elements = x.num_elements()}, x,
      bytes_of(x) * (size() - 1), stream, [&](ncclComm_t comm, cudaStream_t on) {
        return ncclAllGather(x.raw_data(), out.raw_data(), count_of(x), nccl_type(x.dtype()), comm, on);
      });
}

Communicator::Ticket NcclCommunicator::all_to_all(Tensor out, Tensor x, Stream stream) {
  if (x.device().is_cpu()) return Impl::of_host(impl_->host->all_to_all(out, x, stream));
  check_exchange(out, x);
  const auto exchange = [&](ncclComm_t comm, cudaStream_t on) {
    const std::size_t count = count_of(x) / static_cast<std::size_t>(size());
    const ncclDataType_t type = nccl_type(x.dtype());
    ncclGroupStart();
    for (int peer = 0; peer < size(); ++peer) {
      for (const ncclResult_t result : {ncclSend(part_of(x, peer, size()), count, type, peer, comm, on),
                                        ncclRecv(part_of(out, peer, size()), count, type, peer, comm, on)}) {
        if (result != ncclSuccess && result != ncclInProgress) return result;
      }
    }
    return ncclGroupEnd();
  };
  return impl_->collective(
      "ncclSend and ncclRecv",
      {.kind = MpiCall::Kind::kAllToAll, .dtype = x.dtype(), .num_elements = x.num_elements()}, x,
      bytes_of(x) / size() * (size() - 1), stream, exchange);
}

Communicator::Ticket NcclCommunicator::broadcast(Tensor x, int root, Stream stream) {
  if (x.device().is_cpu()) return Impl::of_host(impl_->host->broadcast(x, root, stream));
  check_operand(x);
  check_root(root);
  return impl_->collective(
      "ncclBroadcast",
      {.kind = MpiCall::Kind::kBroadcast, .dtype = x.dtype(), .peer = root, .num_elements = x.num_elements()},
      x, rank() == root ? 0 : bytes_of(x), stream, [&](ncclComm_t comm, cudaStream_t on) {
        return ncclBroadcast(x.raw_data(), x.raw_data(), count_of(x), nccl_type(x.dtype()), root, comm, on);
      });
}

void NcclCommunicator::open_messages() {
  if (impl_->lanes[kToNext]) return;
  cuda::make_current(impl_->device);
  impl_->open_direction(kToNext, kFromPrevious, /*is_upwards=*/true);
  // Of two ranks each is the other's next and previous.
  if (size() > 2) impl_->open_direction(kToPrevious, kFromNext, /*is_upwards=*/false);
}

Communicator::Ticket NcclCommunicator::send(Tensor x, int to, Stream stream) {
  if (x.device().is_cpu()) return Impl::of_host(impl_->host->send(x, to, stream));
  check_operand(x);
  check_peer(to);
  return impl_->message(
      "ncclSend", impl_->lane_with(to, kToNext, kToPrevious),
      {.kind = MpiCall::Kind::kSend, .dtype = x.dtype(), .peer = to, .num_elements = x.num_elements()}, x, 0,
      stream, [&](ncclComm_t comm, cudaStream_t on) {
        return ncclSend(x.raw_data(), count_of(x), nccl_type(x.dtype()), /*the receiver*/ 1, comm, on);
      });
}

Communicator::Ticket NcclCommunicator::receive(Tensor x, int from, Stream stream) {
  if (x.device().is_cpu()) return Impl::of_host(impl_->host->receive(x, from, stream));
  check_operand(x);
  check_peer(from);
  return impl_->message(
      "ncclRecv", impl_->lane_with(from, kFromPrevious, kFromNext),
      {.kind = MpiCall::Kind::kReceive, .dtype = x.dtype(), .peer = from, .num_elements = x.num_elements()},
      x, bytes_of(x), stream, [&](ncclComm_t comm, cudaStream_t on) {
        return ncclRecv(x.raw_data(), count_of(x), nccl_type(x.dtype()), /*the sender*/ 0, comm, on);
      });
}

void NcclCommunicator::wait(Ticket ticket, Stream stream) {
  const std::uint64_t index = ticket & ((1U << kLaneBits) - 1);
  const std::uint64_t number = ticket >> kLaneBits;
  if (index == kHost) return impl_->host->wait(number, stream);
  if (number == 0) return;
  NcclLane& lane = *impl_->lanes[index];
  lane.comm.check();
  if (index != kCollectives) {
    CHECK_LE(lane.num_operations, number + kMostUnderWay - 1)
        << name() << ": a message is waited for after too many later ones";
    impl_->host->wait(impl_->comparisons[index][(number - 1) % kMostUnderWay], {});
  }
  const Event& end = lane.end_of(number);
  if (stream.device().is_cpu()) {
    impl_->poll([&] { return end.is_reached(); });
  } else {
    end.make_wait(stream);
  }
}

void NcclCommunicator::barrier() {
  impl_->drain();
  impl_->host->barrier();
}

std::unique_ptr<Communicator> NcclCommunicator::split(int color, int key, std::string name) {
  std::unique_ptr<Communicator> host = impl_->host->split(color, key, std::move(name));
  cuda::make_current(impl_->device);
  if (host->size() == 1) {
    NcclComm nobody("nobody", impl_->timeout);
    nobody.split_from(impl_->comm(), NCCL_SPLIT_NOCOLOR, key);
    return host;
  }
  auto part = std::make_unique<Impl>(std::move(host), impl_->device, impl_->timeout);
  part->comm().split_from(impl_->comm(), color, key);
  return std::make_unique<NcclCommunicator>(std::move(part));
}

Traffic NcclCommunicator::traffic() const {
  Traffic traffic = impl_->host->traffic();
  traffic.num_calls += impl_->num_calls;
  traffic.bytes_received += impl_->bytes_received;
  return traffic;
}

}  // namespace trireme
