// Collectives, and messages, among the ranks of one group: an axis of the mesh, or several of them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

enum class ReduceOp : std::uint8_t { kSum, kMax };

// What went through a communicator on this rank since it was made.  Take two and subtract for a step's.
//
// With n ranks and an operand of B bytes (of one rank's part, where there are parts) this rank receives
//     all_reduce       2 B (n-1)/n  where n divides the elements, else that on average over the ranks
//     reduce_scatter   B (n-1)      B: a part, the size of `out`
//     all_gather       B (n-1)      B: a part, the size of `x`
//     all_to_all       B (n-1)      B: a part
//     broadcast        B            the root nothing
//     receive          B
// and all of them together send as much as they receive.  Counted is what was received, not this table.
struct Traffic {
  std::int64_t num_calls = 0;
  std::int64_t bytes_received = 0;
  double seconds_busy = 0.0;    // an operation was under way, waiting for late peers included
  double seconds_waited = 0.0;  // this rank stood in wait() or barrier(): the part that computing didn't hide

  Traffic operator-(const Traffic& before) const;
  Traffic& operator+=(const Traffic& more);
};

// Every rank of the group calls the same collectives in the same order, as MPI and NCCL ask.  An operation
// returns at once; it runs after the work that `stream` had been given, on the communicator's own stream.
// Between the call and `wait` its tensors belong to the communicator.  Results are bit-identical on all
// ranks, and from run to run for the same group size.  A failing peer is the machine's error: fatal, by name.
//
// Collectives run one after another.  A send or receive starts when the collectives before it are done, but
// holds up nothing that comes after it: two ranks may both send first, and a receive may be called long
// before its message is needed.  Messages from one rank to another arrive in the order in which they were
// sent.
//
// Parts are equal, one per rank: who has a rest to share pads it (see ShardedLayout).  Tensors are
// contiguous, of any type unless said otherwise, and of any size, 0 included.  A group of one is legal and
// costs nothing.  One thread at a time calls a communicator.
//
// With TRIREME_CHECK_COLLECTIVES=1 in the environment, and in builds with assertions, ranks tell each other
// what they are about to do before they do it; if they disagree the job ends, naming each rank and its call,
// where it would have hung or summed one thing to another.  That costs a small message to each peer per call.
class Communicator {
 public:
  using Ticket = std::uint64_t;  // names one operation of this communicator

  virtual ~Communicator() = default;
  Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const std::string& name() const = 0;  // "world", or what split() was given

  // x = the elementwise sum or maximum over all ranks.  On the CPU each element is summed in rank order, so
  // that it does not depend on what else is reduced with it; bfloat16 in float32, rounded once, and a NaN is
  // a maximum.
  virtual Ticket all_reduce(Tensor x, ReduceOp op, Stream stream) = 0;
  // The same for several tensors of one type, with the messages of one: for small ones, which it copies.
  virtual Ticket all_reduce(std::span<const Tensor> xs, ReduceOp op, Stream stream) = 0;
  // out = the sum or maximum over all ranks of the part x[rank] of x[size, ...].  `out` may be this rank's
  // part of x; x keeps its other parts.
  virtual Ticket reduce_scatter(Tensor out, Tensor x, ReduceOp op, Stream stream) = 0;
  // out[size, ...] = the x of each rank, in rank order; x may be this rank's part of out.
  virtual Ticket all_gather(Tensor out, Tensor x, Stream stream) = 0;
  // out[r] = the part x[rank] of rank r's x[size, ...].  `out` and x don't overlap.
  virtual Ticket all_to_all(Tensor out, Tensor x, Stream stream) = 0;
  // x = root's x.
  virtual Ticket broadcast(Tensor x, int root, Stream stream) = 0;

  // Collective: before the group's first message, and free when it is called again.  The CPU needs none.
  virtual void open_messages() {}
  // A message to or from another rank, which calls the other one with as many elements of the same type.
  virtual Ticket send(Tensor x, int to, Stream stream) = 0;
  virtual Ticket receive(Tensor x, int from, Stream stream) = 0;

  // Work given to `stream` from here on sees the results of the operation and of all collectives before it.
  // On the CPU the calling thread waits.
  virtual void wait(Ticket ticket, Stream stream) = 0;
  // Returns when every rank has called it and all earlier operations are done.
  virtual void barrier() = 0;

  // Collective: a communicator among the ranks that give the same `color` (>= 0), in the order of `key`, then
  // of their rank here.  Its operations are independent of this one's.  Destroyed before this one, on all its
  // ranks in the same order; in an exception's wake it waits for nobody.
  virtual std::unique_ptr<Communicator> split(int color, int key, std::string name) = 0;

  virtual Traffic traffic() const = 0;

 protected:
  // What every communicator asks of its operands.
  void check_operand(const Tensor& x) const;
  void check_same_type(std::span<const Tensor> xs) const;
  // `whole` has one part for each rank.
  void check_parts(const char* operation, const Tensor& whole, const Tensor& part) const;
  void check_exchange(const Tensor& out, const Tensor& x) const;
  void check_root(int root) const;
  void check_peer(int peer) const;
};

}  // namespace trireme
