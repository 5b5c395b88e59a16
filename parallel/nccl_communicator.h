// Collectives and messages between CUDA devices, over NCCL.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "parallel/communicator.h"

namespace trireme {

// Whether this build has NCCL (it does where CUDA is built and the toolkit has it).
inline constexpr bool kHasNccl = TRIREME_HAS_NCCL;

// Collective: the ranks of `host` (of MPI, or alone), which outlives it, each with a device of its own.  The
// host brings NCCL's unique id from rank 0 to the others.  A rank that hasn't come, or an operation that
// NCCL hasn't launched, within `timeout` ends the job.  A group of one gets a SelfCommunicator.
// REQUIRES: kHasNccl.
std::unique_ptr<Communicator> nccl_communicator(Communicator& host, Device device,
                                                std::chrono::seconds timeout = std::chrono::minutes(5));

// Tensors of the device go over NCCL, on streams of the communicator; tensors of the CPU go over a host
// communicator of the same ranks, with Stream{} or any other, so that callers need not care.
//
// An operation on device tensors waits, on the device, for the work that `stream` had been given, and wait()
// makes a stream of the device wait for it; the host waits for neither.  (A wait with the CPU's stream waits
// on the host.)  Nothing is allocated per call.  Sums are NCCL's: the same on all ranks, in an order of
// its own; kMax may pass over a NaN.
//
// Messages go between neighbours on the ring of the group, r -> r + 1 and r -> r - 1 (modulo its size).  NCCL
// does one thing at a time on a communicator, and a receive would hold up all else; so open_messages() makes
// one of two ranks, with a stream, for every direction of every such pair.  Tickets of a pair may be waited
// for until kMostUnderWay later messages have been given to it.  With many communicators at a time the
// driver needs a queue for each stream: CUDA_DEVICE_MAX_CONNECTIONS=32.
//
// NCCL is asked not to block: it launches in a thread of its own, and each call waits until it has.  Its
// errors (a peer that is gone) are looked for in every call, wait() and barrier(); one aborts the
// communicator and ends the job, naming rank, group and host.  But a host that waits for the device in
// another way (Stream::synchronize) for what a dead peer never sends, waits until the launcher ends the job,
// as mpirun and srun do when a rank dies.
//
// traffic() counts bytes by the table in communicator.h: which way NCCL takes, and what that costs, it
// doesn't say.  Its seconds are those of tensors of the CPU alone: on the device they would cost two events
// with time stamps per call.  With TRIREME_CHECK_COLLECTIVES=1 ranks compare calls over the host
// communicator, and the host waits for that in each.
class NcclCommunicator final : public Communicator {
  struct Impl;

 public:
  static constexpr int kMostUnderWay = 128;

  explicit NcclCommunicator(std::unique_ptr<Impl> impl);  // nccl_communicator()'s and split()'s
  ~NcclCommunicator() override;

  int rank() const override;
  int size() const override;
  const std::string& name() const override;

  Ticket all_reduce(Tensor x, ReduceOp op, Stream stream) override;
  Ticket all_reduce(std::span<const Tensor> xs, ReduceOp op, Stream stream) override;
  Ticket reduce_scatter(Tensor out, Tensor x, ReduceOp op, Stream stream) override;
  Ticket all_gather(Tensor out, Tensor x, Stream stream) override;
  Ticket all_to_all(Tensor out, Tensor x, Stream stream) override;
  Ticket broadcast(Tensor x, int root, Stream stream) override;
  void open_messages() override;
  Ticket send(Tensor x, int to, Stream stream) override;
  Ticket receive(Tensor x, int from, Stream stream) override;
  void wait(Ticket ticket, Stream stream) override;
  void barrier() override;
  std::unique_ptr<Communicator> split(int color, int key, std::string name) override;
  Traffic traffic() const override;

 private:
  friend std::unique_ptr<Communicator> nccl_communicator(Communicator&, Device, std::chrono::seconds);

  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme
