// Collectives over MPI, executed beside the computation.
#pragma once

#include <memory>
#include <string>

#include "parallel/communicator.h"

namespace trireme {

struct MpiCall;

// One thread of its own executes the operations, so that MPI progresses while this rank computes; where it
// has to wait for a peer it sleeps, because a core that spins is a core that doesn't train.
class MpiCommunicator final : public Communicator {
  struct Impl;

 public:
  // The ranks of MPI_COMM_WORLD, all of which construct it.  REQUIRES: MPI_THREAD_MULTIPLE; MPI is finalised
  // after the communicator is gone.
  MpiCommunicator();
  explicit MpiCommunicator(std::unique_ptr<Impl> impl);  // split()'s
  ~MpiCommunicator() override;

  int rank() const override;
  int size() const override;
  const std::string& name() const override;

  Ticket all_reduce(Tensor x, ReduceOp op, Stream stream) override;
  Ticket all_reduce(std::span<const Tensor> xs, ReduceOp op, Stream stream) override;
  Ticket reduce_scatter(Tensor out, Tensor x, ReduceOp op, Stream stream) override;
  Ticket all_gather(Tensor out, Tensor x, Stream stream) override;
  Ticket all_to_all(Tensor out, Tensor x, Stream stream) override;
  Ticket broadcast(Tensor x, int root, Stream stream) override;
  Ticket send(Tensor x, int to, Stream stream) override;
  Ticket receive(Tensor x, int from, Stream stream) override;
  void wait(Ticket ticket, Stream stream) override;
  void barrier() override;
  std::unique_ptr<Communicator> split(int color, int key, std::string name) override;
  Traffic traffic() const override;

  // For a call that goes another way than over MPI: compares it with the other ranks', and ends the job if
  // they disagree.  0, at once, where calls aren't compared.  The ticket is to be waited for.
  Ticket compare(const MpiCall& call);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme
