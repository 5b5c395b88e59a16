// Collectives over MPI, executed beside the computation.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace trireme {

// One thread of its own executes the operations, so that MPI progresses while this rank computes; where it
// has to wait for a peer it sleeps, because a core that spins is a core that doesn't train.
//
// all_reduce is ours, not MPI's: the tensor is cut into pieces, each piece into one slice per rank; a rank
// receives its slice from all others, sums, and sends the sum to all, with two pieces on their way at a time.
// That moves as little as a ring does, in two hops instead of 2(P-1), sums in rank order wherever an element
// lies, and is quicker between the processes of one node than MPI_Allreduce.
class MpiCommunicator final : public Communicator {
 public:
  // The ranks of MPI_COMM_WORLD, all of which construct it.  REQUIRES: MPI_THREAD_MULTIPLE; MPI is finalised
  // after the communicator is gone.
  MpiCommunicator();
  ~MpiCommunicator() override;

  int rank() const override;
  int size() const override;

  Ticket all_reduce(Tensor x, ReduceOp op, Stream stream) override;
  Ticket broadcast(Tensor x, int root, Stream stream) override;
  Ticket all_gather(Tensor out, Tensor x, Stream stream) override;
  void wait(Ticket ticket, Stream stream) override;
  void barrier() override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// If `result`, what the MPI function `call` returned, is an error: ends the job, naming rank, host and call.
void check_mpi(int result, const char* call);

}  // namespace trireme
