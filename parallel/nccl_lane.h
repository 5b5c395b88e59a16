// An NCCL communicator, and the stream that it works on.  Internal to parallel/.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <nccl.h>

#include "kernels/cuda/stream_state.h"
#include "kernels/stream.h"

namespace trireme {

// Asks again and again without keeping the core to itself for long.
class Patience {
 public:
  void pause();

 private:
  int num_pauses_ = 0;
};

// An NCCL communicator that doesn't block: what it was told to do has begun when it is no longer in progress.
// Its errors, and what takes longer than `timeout`, end the job.
class NcclComm {
 public:
  // Of nobody.
  NcclComm(std::string name, std::chrono::seconds timeout);
  ~NcclComm();
  NcclComm(const NcclComm&) = delete;
  NcclComm& operator=(const NcclComm&) = delete;

  // Collective.
  void join(const ncclUniqueId& id, int rank, int size);
  // Collective over `whole`.  With NCCL_SPLIT_NOCOLOR it stays nobody's.
  void split_from(NcclComm& whole, int color, int key);
  // Begins the end: of several communicators at a time, so that no rank waits in one for a peer that waits in
  // another.
  void finalize();
  // What is under way is given up.
  void abandon();

  ncclComm_t handle() const { return comm_; }

  // Waits until what `call`, which returned this, has begun is given to its stream.
  void settle(ncclResult_t result, const char* call);
  // Whether a peer, or the way to it, has failed since.
  void check();

 private:
  ncclConfig_t config() const;
  ncclResult_t ask();
  [[noreturn]] void fail(const char* call, ncclResult_t result);
  [[noreturn]] void fail(const std::string& text);

  std::string name_;
  std::chrono::seconds timeout_;
  ncclComm_t comm_ = nullptr;
  bool is_final_ = false;
  ncclResult_t finalized_ = ncclSuccess;
};

// A communicator with the stream that it works on, and the ends of its last operations.
struct NcclLane {
  NcclComm comm;
  DeviceStream stream;
  Event given;  // what an operation waits for
  std::vector<std::unique_ptr<Event>> ends;
  std::uint64_t num_operations = 0;

  // Remembers the ends of `ring` operations.
  NcclLane(std::string name, Device device, std::chrono::seconds timeout, int ring);

  // Runs `enqueue(comm, stream)` after what `after` has been given.
  template <typename Enqueue>
  void submit(const char* call, Stream after, Enqueue enqueue) {
    given.record(after);
    given.make_wait(stream);
    comm.settle(enqueue(comm.handle(), Stream(stream).cuda()->handle()), call);
    ends[num_operations++ % ends.size()]->record(stream);
  }
  // The end of operation `number`, counted from 1, or of a later one.
  const Event& end_of(std::uint64_t number) const { return *ends[(number - 1) % ends.size()]; }
  bool is_done() const { return Stream(stream).is_done(); }
};

}  // namespace trireme
