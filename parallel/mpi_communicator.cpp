#include "parallel/mpi_communicator.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

#include <glog/logging.h>
#include <mpi.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "parallel/operation_queue.h"

namespace trireme {
namespace {

// A slice is what one rank receives from another at a time: large enough that its latency does not count,
// small enough that it stays in the cache between its arrival and its sum.
constexpr std::int64_t kSliceElements = 256 * 1024;
constexpr int kPiecesInFlight = 2;
constexpr std::int64_t kBlockElements = 2048;       // summed at a time, in registers and the first cache
constexpr std::int64_t kMessageElements = 1 << 28;  // MPI counts in int
enum Tag : int { kTagScatter = 1, kTagGather, kTagAllGather };

MPI_Datatype mpi_type(DType dtype) {
  return dtype == DType::kInt32 ? MPI_INT32_T : MPI_FLOAT;
}

// What to do while a peer is not ready: first give way, then sleep, longer and longer.
class Backoff {
 public:
  void reset() { num_waits_ = 0; }
  void pause() {
    ++num_waits_;
    if (num_waits_ <= kYields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(
          std::min(kLongestSleep, (num_waits_ - kYields) * std::chrono::microseconds(5)));
    }
  }

 private:
  static constexpr int kYields = 50;
  static constexpr std::chrono::microseconds kLongestSleep{100};
  int num_waits_ = 0;
};

using Requests = std::vector<MPI_Request>;

bool all_done(Requests& requests) {
  int done = 0;
  check_mpi(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE),
            "MPI_Testall");
  return done != 0;
}

void wait_for(Requests& requests) {
  Backoff backoff;
  while (!all_done(requests)) backoff.pause();
  requests.clear();
}

struct Sum {
  static float apply(float a, float b) { return a + b; }
  // Wraps around, as it does in MPI.
  static std::int32_t apply(std::int32_t a, std::int32_t b) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
  }
};

struct Max {
  template <typename T>
  static T apply(T a, T b) {
    return a < b || b != b ? b : a;  // b != b: a NaN wins over numbers, on either side
  }
};

// out = in[0] op in[1] op ..., in this order; out may be one of them.
template <typename Op, typename T>
void reduce(T* out, const std::vector<const T*>& in, std::int64_t size) {
  std::array<T, kBlockElements> block;
  for (std::int64_t begin = 0; begin < size; begin += kBlockElements) {
    const std::int64_t count = std::min(kBlockElements, size - begin);
    std::copy_n(in[0] + begin, count, block.begin());
    for (std::size_t i = 1; i < in.size(); ++i) {
      const T* x = in[i] + begin;
      for (std::int64_t j = 0; j < count; ++j) {
        block[static_cast<std::size_t>(j)] = Op::apply(block[static_cast<std::size_t>(j)], x[j]);
      }
    }
    std::copy_n(block.begin(), count, out + begin);
  }
}

struct Group {
  MPI_Comm comm = MPI_COMM_NULL;
  int rank = 0;
  int size = 1;

  void send(const void* data, std::int64_t count, DType dtype, int peer, Tag tag, Requests& requests) const {
    if (count == 0) return;
    check_mpi(
        MPI_Isend(data, static_cast<int>(count), mpi_type(dtype), peer, tag, comm, &requests.emplace_back()),
        "MPI_Isend");
  }
  void receive(void* data, std::int64_t count, DType dtype, int peer, Tag tag, Requests& requests) const {
    if (count == 0) return;
    check_mpi(
        MPI_Irecv(data, static_cast<int>(count), mpi_type(dtype), peer, tag, comm, &requests.emplace_back()),
        "MPI_Irecv");
  }
  // The others, starting behind this rank, so that not everybody sends to rank 0 first.
  int peer(int i) const { return (rank + i) % size; }
};

// One all-reduce under way.  Piece p covers elements [p, p + 1) * size * kSliceElements; its messages are
// sent and received in the same order on all ranks.
template <typename Op, typename T>
class AllReduce {
 public:
  AllReduce(const Group& group, T* x, std::int64_t count, std::vector<T>& scratch)
      : group_(group), x_(x), count_(count), scratch_(scratch) {
    scratch_.resize(static_cast<std::size_t>(kPiecesInFlight * (group.size - 1) * slice_size()));
    const std::int64_t piece = group.size * slice_size();
    num_pieces_ = count == 0 ? 0 : (count + piece - 1) / piece;
  }

  void run() {
    std::int64_t num_scattered = 0;
    std::int64_t num_reduced = 0;
    std::int64_t num_gathered = 0;
    Backoff backoff;
    while (num_gathered < num_pieces_) {
      bool moved = false;
      if (num_scattered < std::min(num_pieces_, num_reduced + kPiecesInFlight)) {
        scatter(num_scattered++);
        moved = true;
      }
      if (num_reduced < std::min(num_scattered, num_gathered + kPiecesInFlight) &&
          all_done(scatters(num_reduced))) {
        reduce_and_gather(num_reduced++);
        moved = true;
      }
      if (num_gathered < num_reduced && all_done(gathers(num_gathered))) {
        ++num_gathered;
        moved = true;
      }
      if (moved) {
        backoff.reset();
      } else {
        backoff.pause();
      }
    }
  }

 private:
  struct Range {
    T* begin;
    std::int64_t count;
  };

  std::int64_t slice_size() const {
    return std::min(kSliceElements, (count_ + group_.size - 1) / group_.size);
  }
  // Of the piece, what `rank` sums.
  Range slice(std::int64_t piece, int rank) const {
    const std::int64_t begin = std::min(count_, (piece * group_.size + rank) * slice_size());
    return {x_ + begin, std::min(slice_size(), count_ - begin)};
  }
  T* arrived(std::int64_t piece, int i) {
    return scratch_.data() + ((piece % kPiecesInFlight) * (group_.size - 1) + i - 1) * slice_size();
  }
  Requests& scatters(std::int64_t piece) {
    return scatters_[static_cast<std::size_t>(piece % kPiecesInFlight)];
  }
  Requests& gathers(std::int64_t piece) {
    return gathers_[static_cast<std::size_t>(piece % kPiecesInFlight)];
  }

  void scatter(std::int64_t piece) {
    Requests& requests = scatters(piece);
    requests.clear();
    const Range mine = slice(piece, group_.rank);
    for (int i = 1; i < group_.size; ++i) {
      group_.receive(arrived(piece, i), mine.count, kDTypeOf<T>, group_.peer(i), kTagScatter, requests);
    }
    for (int i = 1; i < group_.size; ++i) {
      const Range theirs = slice(piece, group_.peer(i));
      group_.send(theirs.begin, theirs.count, kDTypeOf<T>, group_.peer(i), kTagScatter, requests);
    }
  }

  void reduce_and_gather(std::int64_t piece) {
    const Range mine = slice(piece, group_.rank);
    std::vector<const T*> terms(static_cast<std::size_t>(group_.size));
    terms[static_cast<std::size_t>(group_.rank)] = mine.begin;
    for (int i = 1; i < group_.size; ++i) terms[static_cast<std::size_t>(group_.peer(i))] = arrived(piece, i);
    reduce<Op>(mine.begin, terms, mine.count);

    Requests& requests = gathers(piece);
    requests.clear();
    for (int i = 1; i < group_.size; ++i) {
      const Range theirs = slice(piece, group_.peer(i));
      group_.receive(theirs.begin, theirs.count, kDTypeOf<T>, group_.peer(i), kTagGather, requests);
    }
    for (int i = 1; i < group_.size; ++i) {
      group_.send(mine.begin, mine.count, kDTypeOf<T>, group_.peer(i), kTagGather, requests);
    }
  }

  const Group& group_;
  T* x_;
  std::int64_t count_;
  std::vector<T>& scratch_;
  std::int64_t num_pieces_ = 0;
  std::array<Requests, kPiecesInFlight> scatters_;
  std::array<Requests, kPiecesInFlight> gathers_;
};

}  // namespace

struct MpiCommunicator::Impl {
  Group group;
  std::vector<float> scratch_float;  // of the communication thread
  std::vector<std::int32_t> scratch_int;
  OperationQueue queue;  // last: its thread uses all of the above

  template <typename T>
  void all_reduce(T* x, std::int64_t count, ReduceOp op, std::vector<T>& scratch) {
    if (op == ReduceOp::kSum) {
      AllReduce<Sum, T>(group, x, count, scratch).run();
    } else {
      AllReduce<Max, T>(group, x, count, scratch).run();
    }
  }

  void broadcast(const Tensor& x, int root) {
    char* data = static_cast<char*>(x.raw_data());
    const std::int64_t count = x.num_elements();
    for (std::int64_t begin = 0; begin < count; begin += kMessageElements) {
      Requests request(1);
      check_mpi(MPI_Ibcast(data + begin * size_bytes(x.dtype()),
                           static_cast<int>(std::min(kMessageElements, count - begin)), mpi_type(x.dtype()),
                           root, group.comm, request.data()),
                "MPI_Ibcast");
      wait_for(request);
    }
  }

  void all_gather(const Tensor& out, const Tensor& x) {
    const std::int64_t count = x.num_elements();
    const auto part = [&](int rank, std::int64_t begin) {
      return static_cast<char*>(out.raw_data()) + (rank * count + begin) * size_bytes(x.dtype());
    };
    for (std::int64_t begin = 0; begin < count; begin += kMessageElements) {
      const std::int64_t size = std::min(kMessageElements, count - begin);
      const char* mine = static_cast<const char*>(x.raw_data()) + begin * size_bytes(x.dtype());
      Requests requests;
      for (int i = 1; i < group.size; ++i) {
        group.receive(part(group.peer(i), begin), size, x.dtype(), group.peer(i), kTagAllGather, requests);
      }
      for (int i = 1; i < group.size; ++i) {
        group.send(mine, size, x.dtype(), group.peer(i), kTagAllGather, requests);
      }
      if (part(group.rank, begin) != mine) {
        std::memcpy(part(group.rank, begin), mine, static_cast<std::size_t>(size * size_bytes(x.dtype())));
      }
      wait_for(requests);
    }
  }
};

MpiCommunicator::MpiCommunicator() : impl_(std::make_unique<Impl>()) {
  Group& group = impl_->group;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &group.comm), "MPI_Comm_dup");
  check_mpi(MPI_Comm_set_errhandler(group.comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(group.comm, &group.rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(group.comm, &group.size), "MPI_Comm_size");
  // By default Linux lets each sleep last 50 us longer.
  impl_->queue.submit([] { PCHECK(prctl(PR_SET_TIMERSLACK, 1000) == 0); });
}

MpiCommunicator::~MpiCommunicator() {
  impl_->queue.wait(
      impl_->queue.submit([this] { check_mpi(MPI_Comm_free(&impl_->group.comm), "MPI_Comm_free"); }));
}

int MpiCommunicator::rank() const {
  return impl_->group.rank;
}

int MpiCommunicator::size() const {
  return impl_->group.size;
}

Communicator::Ticket MpiCommunicator::all_reduce(Tensor x, ReduceOp op, Stream /*stream*/) {
  check_operand(x);
  return impl_->queue.submit([this, x, op] {
    if (x.dtype() == DType::kInt32) {
      impl_->all_reduce(x.data<std::int32_t>(), x.num_elements(), op, impl_->scratch_int);
    } else {
      impl_->all_reduce(x.data<float>(), x.num_elements(), op, impl_->scratch_float);
    }
  });
}

Communicator::Ticket MpiCommunicator::broadcast(Tensor x, int root, Stream /*stream*/) {
  check_operand(x);
  check_root(root);
  return impl_->queue.submit([this, x, root] { impl_->broadcast(x, root); });
}

Communicator::Ticket MpiCommunicator::all_gather(Tensor out, Tensor x, Stream /*stream*/) {
  check_gather(out, x);
  return impl_->queue.submit([this, out, x] { impl_->all_gather(out, x); });
}

void MpiCommunicator::wait(Ticket ticket, Stream /*stream*/) {
  impl_->queue.wait(ticket);
}

void MpiCommunicator::barrier() {
  impl_->queue.wait(impl_->queue.submit([this] {
    Requests request(1);
    check_mpi(MPI_Ibarrier(impl_->group.comm, request.data()), "MPI_Ibarrier");
    wait_for(request);
  }));
}

void check_mpi(int result, const char* call) {
  if (result == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(result, text.data(), &length);
  int rank = -1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  LOG(ERROR) << "rank " << rank << " on " << host.data() << ": " << call << ": " << text.data();
  google::FlushLogFiles(google::GLOG_INFO);
  MPI_Abort(MPI_COMM_WORLD, 1);
}

}  // namespace trireme
