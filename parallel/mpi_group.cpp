#include "parallel/mpi_group.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <numeric>

#include <glog/logging.h>
#include <unistd.h>

namespace trireme {
namespace {

constexpr std::int64_t kMessageBytes = 1 << 30;

// Each communicator has a thread, and MPI may complete the messages of one on the thread of another.  Entered
// by one at a time, it is what makes that completion visible to ours, and keeps its own locks out of each
// other's way.
std::mutex mpi_mutex;

// Calls start(offset, bytes) for each message that so many bytes need.
template <typename Start>
void in_messages(std::int64_t bytes, Start start) {
  for (std::int64_t begin = 0; begin < bytes; begin += kMessageBytes) {
    start(begin, static_cast<int>(std::min(kMessageBytes, bytes - begin)));
  }
}

}  // namespace

bool all_done(MpiRequests& requests) {
  const std::lock_guard lock(mpi_mutex);
  int done = 0;
  check_mpi(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE),
            "MPI_Testall");
  return done != 0;
}

MpiGroup::MpiGroup(MPI_Comm new_comm) : comm(new_comm), bytes_received(0) {
  check_mpi(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(comm, &size), "MPI_Comm_size");
  MPI_Group mine = MPI_GROUP_NULL;
  MPI_Group job = MPI_GROUP_NULL;
  check_mpi(MPI_Comm_group(comm, &mine), "MPI_Comm_group");
  check_mpi(MPI_Comm_group(MPI_COMM_WORLD, &job), "MPI_Comm_group");
  std::vector<int> ranks(static_cast<std::size_t>(size));
  std::iota(ranks.begin(), ranks.end(), 0);
  job_ranks.resize(ranks.size());
  check_mpi(MPI_Group_translate_ranks(mine, size, ranks.data(), job, job_ranks.data()),
            "MPI_Group_translate_ranks");
  check_mpi(MPI_Group_free(&mine), "MPI_Group_free");
  check_mpi(MPI_Group_free(&job), "MPI_Group_free");
}

void MpiGroup::send(const void* data, std::int64_t bytes, int to, MpiTag tag, MpiRequests& requests) const {
  const std::lock_guard lock(mpi_mutex);
  in_messages(bytes, [&](std::int64_t begin, int size_bytes) {
    check_mpi(MPI_Isend(static_cast<const char*>(data) + begin, size_bytes, MPI_BYTE, to,
                        static_cast<int>(tag), comm, &requests.emplace_back()),
              "MPI_Isend");
  });
}

void MpiGroup::receive(void* data, std::int64_t bytes, int from, MpiTag tag, MpiRequests& requests) {
  const std::lock_guard lock(mpi_mutex);
  in_messages(bytes, [&](std::int64_t begin, int size_bytes) {
    check_mpi(MPI_Irecv(static_cast<char*>(data) + begin, size_bytes, MPI_BYTE, from, static_cast<int>(tag),
                        comm, &requests.emplace_back()),
              "MPI_Irecv");
  });
  if (tag != MpiTag::kCheckCollective && tag != MpiTag::kCheckMessage) bytes_received += bytes;
}

void MpiGroup::broadcast(void* data, std::int64_t bytes, int root, MpiRequests& requests) {
  const std::lock_guard lock(mpi_mutex);
  in_messages(bytes, [&](std::int64_t begin, int size_bytes) {
    check_mpi(MPI_Ibcast(static_cast<char*>(data) + begin, size_bytes, MPI_BYTE, root, comm,
                         &requests.emplace_back()),
              "MPI_Ibcast");
  });
  if (rank != root) bytes_received += bytes;
}

void MpiGroup::barrier(MpiRequests& requests) const {
  const std::lock_guard lock(mpi_mutex);
  check_mpi(MPI_Ibarrier(comm, &requests.emplace_back()), "MPI_Ibarrier");
}

void check_mpi(int result, const char* call) {
  if (result == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(result, text.data(), &length);
  end_job(std::string(call) + ": " + text.data());
}

void end_job(const std::string& reason) {
  int rank = -1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  LOG(ERROR) << "rank " << rank << " on " << host.data() << ": " << reason;
  google::FlushLogFiles(google::GLOG_INFO);
  MPI_Abort(MPI_COMM_WORLD, 1);
  _exit(1);
}

}  // namespace trireme
