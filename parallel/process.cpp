#include "parallel/process.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>

#include <glog/logging.h>
#include <mpi.h>
#include <unistd.h>

#include "parallel/mpi_communicator.h"
#include "parallel/mpi_group.h"
#include "parallel/self_communicator.h"

namespace trireme {
namespace {

// What mpirun of Open MPI, PMIx and the PMI launchers leave in the environment of a rank.  Asking MPI instead
// would start its helpers and open its sockets also for a process that is alone.
bool is_launched() {
  constexpr std::array kVariables{"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"};
  return std::any_of(kVariables.begin(), kVariables.end(),
                     [](const char* variable) { return std::getenv(variable) != nullptr; });
}

}  // namespace

struct Process::Impl {
  bool uses_mpi = false;
  int rank = 0;
  int num_ranks = 1;
  int local_rank = 0;
  int num_local_ranks = 1;
  int num_exceptions = std::uncaught_exceptions();  // under way when this process joined
  std::unique_ptr<Communicator> world;

  void join(int* argc, char*** argv) {
    int provided = MPI_THREAD_SINGLE;
    // Each communicator has a thread that calls MPI.
    check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
    CHECK_EQ(provided, MPI_THREAD_MULTIPLE) << "this MPI was built without support for threads";
    uses_mpi = true;
    check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &num_ranks), "MPI_Comm_size");

    MPI_Comm node = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node),
              "MPI_Comm_split_type");
    check_mpi(MPI_Comm_rank(node, &local_rank), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(node, &num_local_ranks), "MPI_Comm_size");
    check_mpi(MPI_Comm_free(&node), "MPI_Comm_free");
  }
};

Process::Process(int* argc, char*** argv) : impl_(std::make_unique<Impl>()) {
  if (is_launched()) impl_->join(argc, argv);
  if (impl_->num_ranks > 1) {
    impl_->world = std::make_unique<MpiCommunicator>();
  } else {
    impl_->world = std::make_unique<SelfCommunicator>("world");
  }
}

Process::~Process() {
  if (std::uncaught_exceptions() > impl_->num_exceptions) {
    // Peers may be inside a collective that this rank will never join, and so may its own communication
    // thread.
    [[maybe_unused]] Impl* abandoned = impl_.release();
    return;
  }
  // mpirun (4.1.4) hangs or crashes now and then when a rank aborts while others are inside MPI_Finalize, so
  // none enters it before all have come this far.
  impl_->world->barrier();
  impl_->world.reset();
  if (impl_->uses_mpi) check_mpi(MPI_Finalize(), "MPI_Finalize");
}

int Process::rank() const {
  return impl_->rank;
}

int Process::num_ranks() const {
  return impl_->num_ranks;
}

int Process::local_rank() const {
  return impl_->local_rank;
}

int Process::num_local_ranks() const {
  return impl_->num_local_ranks;
}

Communicator& Process::world() {
  return *impl_->world;
}

void Process::abort(int exit_code) {
  google::FlushLogFiles(google::GLOG_INFO);
  if (impl_->uses_mpi) MPI_Abort(MPI_COMM_WORLD, exit_code);
  _exit(exit_code);
}

}  // namespace trireme
