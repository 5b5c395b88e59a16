#include "parallel/mpi_communicator.h"

#include <cstring>
#include <exception>
#include <numeric>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <mpi.h>
#include <sys/prctl.h>

#include "parallel/mpi_call_check.h"
#include "parallel/mpi_group.h"
#include "parallel/mpi_reduction.h"
#include "parallel/operation_queue.h"
#include "parallel/self_communicator.h"

namespace trireme {
namespace {

using Order = OperationQueue::Order;

MPI_Comm world_copy() {
  MPI_Comm copy = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &copy), "MPI_Comm_dup");
  return copy;
}

// Checks take both ends: one rank's wish is everybody's.
bool any_wants_checks(MPI_Comm comm) {
  int wanted = wants_checks() ? 1 : 0;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &wanted, 1, MPI_INT, MPI_MAX, comm), "MPI_Allreduce");
  return wanted != 0;
}

std::int64_t bytes_of(const Tensor& x) {
  return x.num_elements() * size_bytes(x.dtype());
}

char* part_of(const Tensor& x, std::int64_t part_bytes, int rank) {
  return static_cast<char*>(x.raw_data()) + rank * part_bytes;
}

void copy_bytes(void* to, const void* from, std::int64_t bytes) {
  if (bytes > 0 && to != from) std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

}  // namespace

struct MpiCommunicator::Impl {
  MpiGroup group;
  const std::string name;
  const bool checks;
  const int num_exceptions = std::uncaught_exceptions();  // under way when it was made
  std::int64_t num_calls = 0;
  std::int64_t num_collectives = 0;
  MpiScratch scratch;    // of the communication thread
  OperationQueue queue;  // last: its thread uses all of the above

  Impl(MPI_Comm comm, std::string new_name, bool with_checks)
      : group(comm), name(std::move(new_name)), checks(with_checks) {
    // By default Linux lets each sleep last 50 us longer.
    queue.submit([] { PCHECK(prctl(PR_SET_TIMERSLACK, 1000) == 0); });
  }

  Ticket submit(const MpiCall& call, std::unique_ptr<Operation> operation) {
    ++num_calls;
    return enqueue(call, std::move(operation));
  }
  Ticket enqueue(const MpiCall& call, std::unique_ptr<Operation> operation) {
    if (!call.is_message()) ++num_collectives;
    if (checks) operation = checked(std::move(operation), call, num_collectives, group, name);
    return queue.submit(std::move(operation), call.is_message() ? Order::kConcurrent : Order::kAlone);
  }
  Ticket submit(const MpiCall& call, std::function<void(MpiRequests&)> post) {
    return submit(call, std::make_unique<MpiExchange>(std::move(post)));
  }
};

MpiCommunicator::MpiCommunicator() {
  const MPI_Comm comm = world_copy();
  impl_ = std::make_unique<Impl>(comm, "world", any_wants_checks(comm));
}

MpiCommunicator::MpiCommunicator(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

MpiCommunicator::~MpiCommunicator() {
  if (std::uncaught_exceptions() > impl_->num_exceptions) {
    // Peers may be inside a collective that this rank will never join, and so may its own thread.
    [[maybe_unused]] Impl* abandoned = impl_.release();
    return;
  }
  impl_->queue.wait(
      impl_->queue.submit([this] { check_mpi(MPI_Comm_free(&impl_->group.comm), "MPI_Comm_free"); }));
}

int MpiCommunicator::rank() const {
  return impl_->group.rank;
}

int MpiCommunicator::size() const {
  return impl_->group.size;
}

const std::string& MpiCommunicator::name() const {
  return impl_->name;
}

Communicator::Ticket MpiCommunicator::all_reduce(Tensor x, ReduceOp op, Stream /*stream*/) {
  check_operand(x);
  return impl_->submit({.kind = MpiCall::Kind::kAllReduce,
                        .reduce_op = op,
                        .dtype = x.dtype(),
                        .num_elements = x.num_elements()},
                       mpi_all_reduce(impl_->group, x, op, impl_->scratch));
}

Communicator::Ticket MpiCommunicator::all_reduce(std::span<const Tensor> xs, ReduceOp op, Stream /*stream*/) {
  if (xs.empty()) return 0;
  check_same_type(xs);
  const auto count =
      std::accumulate(xs.begin(), xs.end(), std::int64_t{0},
                      [](std::int64_t sum, const Tensor& x) { return sum + x.num_elements(); });
  return impl_->submit({.kind = MpiCall::Kind::kAllReduce,
                        .reduce_op = op,
                        .dtype = xs.front().dtype(),
                        .num_elements = count},
                       mpi_all_reduce(impl_->group, {xs.begin(), xs.end()}, op, impl_->scratch));
}

Communicator::Ticket MpiCommunicator::reduce_scatter(Tensor out, Tensor x, ReduceOp op, Stream /*stream*/) {
  check_parts("reduce_scatter", x, out);
  return impl_->submit({.kind = MpiCall::Kind::kReduceScatter,
                        .reduce_op = op,
                        .dtype = x.dtype(),
                        .num_elements = out.num_elements()},
                       mpi_reduce_scatter(impl_->group, out, x, op, impl_->scratch));
}

Communicator::Ticket MpiCommunicator::all_gather(Tensor out, Tensor x, Stream /*stream*/) {
  check_parts("all_gather", out, x);
  const auto post = [&group = impl_->group, out, x](MpiRequests& requests) {
    const std::int64_t bytes = bytes_of(x);
    for (int i = 1; i < group.size; ++i) {
      const int peer = group.peer(i);
      group.receive(part_of(out, bytes, peer), bytes, peer, MpiTag::kGather, requests);
    }
    for (int i = 1; i < group.size; ++i) {
      group.send(x.raw_data(), bytes, group.peer(i), MpiTag::kGather, requests);
    }
    copy_bytes(part_of(out, bytes, group.rank), x.raw_data(), bytes);
  };
  return impl_->submit(
      {.kind = MpiCall::Kind::kAllGather, .dtype = x.dtype(), .num_elements = x.num_elements()}, post);
}

Communicator::Ticket MpiCommunicator::all_to_all(Tensor out, Tensor x, Stream /*stream*/) {
  check_exchange(out, x);
  const auto post = [&group = impl_->group, out, x](MpiRequests& requests) {
    const std::int64_t bytes = bytes_of(x) / group.size;
    for (int i = 1; i < group.size; ++i) {
      const int peer = group.peer(i);
      group.receive(part_of(out, bytes, peer), bytes, peer, MpiTag::kAllToAll, requests);
    }
    for (int i = 1; i < group.size; ++i) {
      const int peer = group.peer(i);
      group.send(part_of(x, bytes, peer), bytes, peer, MpiTag::kAllToAll, requests);
    }
    copy_bytes(part_of(out, bytes, group.rank), part_of(x, bytes, group.rank), bytes);
  };
  return impl_->submit(
      {.kind = MpiCall::Kind::kAllToAll, .dtype = x.dtype(), .num_elements = x.num_elements()}, post);
}

Communicator::Ticket MpiCommunicator::broadcast(Tensor x, int root, Stream /*stream*/) {
  check_operand(x);
  check_root(root);
  const auto post = [&group = impl_->group, x, root](MpiRequests& requests) {
    group.broadcast(x.raw_data(), bytes_of(x), root, requests);
  };
  return impl_->submit(
      {.kind = MpiCall::Kind::kBroadcast, .dtype = x.dtype(), .peer = root, .num_elements = x.num_elements()},
      post);
}

Communicator::Ticket MpiCommunicator::send(Tensor x, int to, Stream /*stream*/) {
  check_operand(x);
  check_peer(to);
  const auto post = [&group = impl_->group, x, to](MpiRequests& requests) {
    group.send(x.raw_data(), bytes_of(x), to, MpiTag::kMessage, requests);
  };
  return impl_->submit(
      {.kind = MpiCall::Kind::kSend, .dtype = x.dtype(), .peer = to, .num_elements = x.num_elements()}, post);
}

Communicator::Ticket MpiCommunicator::receive(Tensor x, int from, Stream /*stream*/) {
  check_operand(x);
  check_peer(from);
  const auto post = [&group = impl_->group, x, from](MpiRequests& requests) {
    group.receive(x.raw_data(), bytes_of(x), from, MpiTag::kMessage, requests);
  };
  return impl_->submit(
      {.kind = MpiCall::Kind::kReceive, .dtype = x.dtype(), .peer = from, .num_elements = x.num_elements()},
      post);
}

void MpiCommunicator::wait(Ticket ticket, Stream /*stream*/) {
  impl_->queue.wait(ticket);
}

void MpiCommunicator::barrier() {
  impl_->queue.drain();  // messages, too, which a collective would overtake
  impl_->queue.wait(
      impl_->submit({.kind = MpiCall::Kind::kBarrier},
                    [&group = impl_->group](MpiRequests& requests) { group.barrier(requests); }));
}

std::unique_ptr<Communicator> MpiCommunicator::split(int color, int key, std::string name) {
  CHECK_GE(color, 0);
  MPI_Comm part = MPI_COMM_NULL;
  impl_->queue.wait(impl_->submit({.kind = MpiCall::Kind::kSplit}, [&](MpiRequests& /*requests*/) {
    check_mpi(MPI_Comm_split(impl_->group.comm, color, key, &part), "MPI_Comm_split");
  }));
  int part_size = 0;
  check_mpi(MPI_Comm_size(part, &part_size), "MPI_Comm_size");
  if (part_size > 1) {
    return std::make_unique<MpiCommunicator>(std::make_unique<Impl>(part, std::move(name), impl_->checks));
  }
  check_mpi(MPI_Comm_free(&part), "MPI_Comm_free");
  return std::make_unique<SelfCommunicator>(std::move(name));
}

Communicator::Ticket MpiCommunicator::compare(const MpiCall& call) {
  if (!impl_->checks) return 0;
  return impl_->enqueue(call, std::make_unique<MpiExchange>([](MpiRequests& /*requests*/) {}));
}

Traffic MpiCommunicator::traffic() const {
  return {.num_calls = impl_->num_calls,
          .bytes_received = impl_->group.bytes_received,
          .seconds_busy = impl_->queue.seconds_busy(),
          .seconds_waited = impl_->queue.seconds_waited()};
}

}  // namespace trireme
