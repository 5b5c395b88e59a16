// Tells the ranks of a group that are about to do different things what they are about to do.  Internal to
// parallel/.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/dtype.h"
#include "parallel/communicator.h"
#include "parallel/mpi_group.h"

namespace trireme {

// What a rank calls, as far as it concerns the others.
struct MpiCall {
  enum class Kind : std::int32_t {
    kAllReduce,
    kReduceScatter,
    kAllGather,
    kAllToAll,
    kBroadcast,
    kSend,
    kReceive,
    kBarrier,
    kSplit,
  };

  Kind kind = Kind::kBarrier;
  ReduceOp reduce_op = ReduceOp::kSum;
  DType dtype = DType::kFloat32;
  std::int32_t peer = -1;  // the root, or the other end of a message
  std::int64_t num_elements = 0;

  bool operator==(const MpiCall&) const = default;
  bool is_message() const { return kind == Kind::kSend || kind == Kind::kReceive; }
  std::string to_string() const;  // "all_reduce(sum) of 100 float32"
};

// Does what `operation` does if the others of the group (the other end, for a message) call the same; else
// ends the job with what each of them called.  `call_number` counts the collectives of the group, for the
// message.
std::unique_ptr<Operation> checked(std::unique_ptr<Operation> operation, const MpiCall& call,
                                   std::int64_t call_number, MpiGroup& group, const std::string& group_name);

// Whether communicators check: TRIREME_CHECK_COLLECTIVES is set to 1, or assertions are on and it isn't 0.
bool wants_checks();

}  // namespace trireme
