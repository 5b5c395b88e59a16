// Collectives among the ranks of one axis of the mesh.
#pragma once

#include <cstdint>

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

enum class ReduceOp : std::uint8_t { kSum, kMax };

// Every rank of the group calls the same operations in the same order, as MPI and NCCL ask.  An operation
// returns at once; it runs after the work that `stream` had been given, on the communicator's own stream, in
// the order of the calls.  Between the call and `wait` its tensors belong to the communicator.  Results are
// bit-identical on all ranks, and from run to run for the same group size.  A failing peer is the machine's
// error: fatal, by name.
//
// Tensors are contiguous, of any type unless said otherwise.  A group of one is legal and costs nothing.
// One thread at a time calls a communicator.
class Communicator {
 public:
  using Ticket = std::uint64_t;  // names one operation of this communicator

  virtual ~Communicator() = default;
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // x = the elementwise sum or maximum over all ranks.  float32 or int32.  On the CPU each element is summed
  // in rank order, so that it does not depend on what else is reduced with it.  A NaN is a maximum.
  virtual Ticket all_reduce(Tensor x, ReduceOp op, Stream stream) = 0;
  // x = root's x.
  virtual Ticket broadcast(Tensor x, int root, Stream stream) = 0;
  // out[size, ...] = the x of each rank, in rank order; x may be this rank's part of out.
  virtual Ticket all_gather(Tensor out, Tensor x, Stream stream) = 0;

  // Work given to `stream` from here on sees the results of the operation and of all before it.  On the CPU
  // the calling thread waits.
  virtual void wait(Ticket ticket, Stream stream) = 0;
  // Returns when every rank has called it and all earlier operations are done.
  virtual void barrier() = 0;

 protected:
  // What every communicator asks of its operands.
  void check_operand(const Tensor& x) const;
  void check_gather(const Tensor& out, const Tensor& x) const;
  void check_root(int root) const;
};

}  // namespace trireme
