// This process among those that train together.
#pragma once

#include <memory>

#include "parallel/communicator.h"

namespace trireme {

// Joins the job that a launcher started (mpirun, srun --mpi=pmix), or stands alone where there is none:
// without a launcher MPI is not even initialised.  One object, made at the start of main and destroyed at its
// end.
//
// Construction and destruction are collective.  A mistake that all ranks find alike may end main by an
// exception; an error of one rank alone ends in abort().  Destroyed by an exception, the process waits for no
// peer: the launcher sees a rank leave without farewell and ends the job.
class Process {
 public:
  Process(int* argc, char*** argv);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  int rank() const;  // in the job
  int num_ranks() const;
  int local_rank() const;  // among the ranks of this node: picks the device
  int num_local_ranks() const;

  // All ranks of the job.  Lives as long as this object.
  Communicator& world();

  // Ends the whole job at once with this exit code, for an error that the other ranks do not know of.
  [[noreturn]] void abort(int exit_code);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme
