// What operations over MPI are made of: the ranks of a group, and messages between them.  Internal to
// parallel/.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <mpi.h>

#include "parallel/operation_queue.h"

namespace trireme {

// One for each kind of message: those of one kind, from one rank to another, arrive in order.
enum class MpiTag : int { kScatter = 1, kGather, kAllToAll, kMessage, kCheckCollective, kCheckMessage };

using MpiRequests = std::vector<MPI_Request>;

// Whether they are; drives them on.
bool all_done(MpiRequests& requests);

struct MpiGroup {
  MPI_Comm comm = MPI_COMM_NULL;
  int rank = 0;
  int size = 1;
  std::vector<int> job_ranks;                // of each rank of the group
  std::atomic<std::int64_t> bytes_received;  // but not of checks

  // Takes `new_comm` over.
  explicit MpiGroup(MPI_Comm new_comm);

  // The others, starting behind this rank, so that not everybody sends to rank 0 first.
  int peer(int i) const { return (rank + i) % size; }

  // Start messages, several where MPI's int cannot count the bytes.
  void send(const void* data, std::int64_t bytes, int to, MpiTag tag, MpiRequests& requests) const;
  void receive(void* data, std::int64_t bytes, int from, MpiTag tag, MpiRequests& requests);
  void broadcast(void* data, std::int64_t bytes, int root, MpiRequests& requests);
  void barrier(MpiRequests& requests) const;
};

// Starts some messages, and is done when they are.
class MpiExchange final : public Operation {
 public:
  explicit MpiExchange(std::function<void(MpiRequests&)> post) : post_(std::move(post)) {}
  void start() override { post_(requests_); }
  Progress advance() override { return all_done(requests_) ? Progress::kDone : Progress::kWaiting; }

 private:
  std::function<void(MpiRequests&)> post_;
  MpiRequests requests_;
};

// If `result`, what the MPI function `call` returned, is an error: ends the job, naming rank, host and call.
void check_mpi(int result, const char* call);
// Says so in the name of this rank, and ends the job.
[[noreturn]] void end_job(const std::string& reason);

}  // namespace trireme
