#include "parallel/mpi_reduction.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

namespace trireme {
namespace {

// A slice is what one rank receives from another at a time: large enough that its latency does not count,
// small enough that it stays in the cache between its arrival and its sum.
constexpr std::int64_t kSliceElements = 256 * 1024;
constexpr int kPiecesInFlight = 2;
constexpr std::int64_t kBlockElements = 2048;  // summed at a time, in registers and the first cache

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
  using Wide = std::conditional_t<std::is_same_v<T, Bfloat16>, float, T>;
  std::array<Wide, kBlockElements> block;
  for (std::int64_t begin = 0; begin < size; begin += kBlockElements) {
    const auto count = static_cast<std::size_t>(std::min(kBlockElements, size - begin));
    for (std::size_t j = 0; j < count; ++j)
      block[j] = static_cast<Wide>(in[0][begin + static_cast<std::int64_t>(j)]);
    for (std::size_t i = 1; i < in.size(); ++i) {
      const T* x = in[i] + begin;
      for (std::size_t j = 0; j < count; ++j) block[j] = Op::apply(block[j], static_cast<Wide>(x[j]));
    }
    for (std::size_t j = 0; j < count; ++j)
      out[begin + static_cast<std::int64_t>(j)] = static_cast<T>(block[j]);
  }
}

// One all_reduce (out == nullptr) or reduce_scatter under way.  The messages of its pieces are sent and
// received in the same order on all ranks.
template <typename Op, typename T>
class Reduction final : public Operation {
 public:
  Reduction(MpiGroup& group, T* x, std::int64_t count, T* out, MpiScratch& scratch)
      : group_(group), x_(x), count_(count), out_(out), scratch_(scratch) {
    const std::int64_t part = (count + group.size - 1) / group.size;
    slice_size_ = std::min(kSliceElements, part);
    num_pieces_ = count == 0 ? 0 : (part + slice_size_ - 1) / slice_size_;
    part_size_ = part;
  }

  void start() override {
    const auto bytes =
        static_cast<std::size_t>(kPiecesInFlight * (group_.size - 1) * slice_size_) * sizeof(T);
    if (scratch_.size() < bytes) scratch_ = MpiScratch(bytes);
  }

  Progress advance() override {
    bool moved = false;
    if (num_scattered_ < std::min(num_pieces_, num_reduced_ + kPiecesInFlight)) {
      scatter(num_scattered_++);
      moved = true;
    }
    if (num_reduced_ < std::min(num_scattered_, num_gathered_ + kPiecesInFlight) &&
        all_done(scatters(num_reduced_))) {
      reduce_and_gather(num_reduced_++);
      moved = true;
    }
    if (num_gathered_ < num_reduced_ && all_done(gathers(num_gathered_))) {
      ++num_gathered_;
      moved = true;
    }
    if (num_gathered_ == num_pieces_) return Progress::kDone;
    return moved ? Progress::kMoved : Progress::kWaiting;
  }

 private:
  struct Range {
    T* begin;
    std::int64_t count;
  };

  // Of the piece, what `rank` sums: in an all_reduce pieces lie one behind the other, so that each is
  // contiguous; in a reduce_scatter each rank's part does.
  Range slice(std::int64_t piece, int rank) const {
    const std::int64_t begin = out_ == nullptr ? (piece * group_.size + rank) * slice_size_
                                               : rank * part_size_ + piece * slice_size_;
    const std::int64_t end = out_ == nullptr ? count_ : (rank + 1) * part_size_;
    return {x_ + std::min(begin, count_), std::clamp(end - begin, std::int64_t{0}, slice_size_)};
  }
  T* arrived(std::int64_t piece, int i) {
    return reinterpret_cast<T*>(scratch_.data()) +
           ((piece % kPiecesInFlight) * (group_.size - 1) + i - 1) * slice_size_;
  }
  MpiRequests& scatters(std::int64_t piece) {
    return scatters_[static_cast<std::size_t>(piece % kPiecesInFlight)];
  }
  MpiRequests& gathers(std::int64_t piece) {
    return gathers_[static_cast<std::size_t>(piece % kPiecesInFlight)];
  }
  static std::int64_t bytes(std::int64_t count) { return count * size_bytes(kDTypeOf<T>); }

  void scatter(std::int64_t piece) {
    MpiRequests& requests = scatters(piece);
    requests.clear();
    const Range mine = slice(piece, group_.rank);
    for (int i = 1; i < group_.size; ++i) {
      group_.receive(arrived(piece, i), bytes(mine.count), group_.peer(i), MpiTag::kScatter, requests);
    }
    for (int i = 1; i < group_.size; ++i) {
      const Range theirs = slice(piece, group_.peer(i));
      group_.send(theirs.begin, bytes(theirs.count), group_.peer(i), MpiTag::kScatter, requests);
    }
  }

  void reduce_and_gather(std::int64_t piece) {
    const Range mine = slice(piece, group_.rank);
    std::vector<const T*> terms(static_cast<std::size_t>(group_.size));
    terms[static_cast<std::size_t>(group_.rank)] = mine.begin;
    for (int i = 1; i < group_.size; ++i) terms[static_cast<std::size_t>(group_.peer(i))] = arrived(piece, i);
    reduce<Op>(out_ == nullptr ? mine.begin : out_ + piece * slice_size_, terms, mine.count);

    MpiRequests& requests = gathers(piece);
    requests.clear();
    if (out_ != nullptr) return;
    for (int i = 1; i < group_.size; ++i) {
      const Range theirs = slice(piece, group_.peer(i));
      group_.receive(theirs.begin, bytes(theirs.count), group_.peer(i), MpiTag::kGather, requests);
    }
    for (int i = 1; i < group_.size; ++i) {
      group_.send(mine.begin, bytes(mine.count), group_.peer(i), MpiTag::kGather, requests);
    }
  }

  MpiGroup& group_;
  T* x_;
  std::int64_t count_;
  T* out_;
  MpiScratch& scratch_;
  std::int64_t part_size_ = 0;
  std::int64_t slice_size_ = 0;
  std::int64_t num_pieces_ = 0;
  std::int64_t num_scattered_ = 0;
  std::int64_t num_reduced_ = 0;
  std::int64_t num_gathered_ = 0;
  std::array<MpiRequests, kPiecesInFlight> scatters_;
  std::array<MpiRequests, kPiecesInFlight> gathers_;
};

template <typename T>
std::unique_ptr<Operation> make_reduction(MpiGroup& group, const Tensor& x, const Tensor& out, ReduceOp op,
                                          MpiScratch& scratch) {
  T* to = out ? out.data<T>() : nullptr;
  if (op == ReduceOp::kSum) {
    return std::make_unique<Reduction<Sum, T>>(group, x.data<T>(), x.num_elements(), to, scratch);
  }
  return std::make_unique<Reduction<Max, T>>(group, x.data<T>(), x.num_elements(), to, scratch);
}

std::unique_ptr<Operation> make_reduction(MpiGroup& group, const Tensor& x, const Tensor& out, ReduceOp op,
                                          MpiScratch& scratch) {
  switch (x.dtype()) {
    case DType::kFloat32:
      return make_reduction<float>(group, x, out, op, scratch);
    case DType::kBfloat16:
      return make_reduction<Bfloat16>(group, x, out, op, scratch);
    case DType::kInt32:
      return make_reduction<std::int32_t>(group, x, out, op, scratch);
  }
  return nullptr;
}

// Several tensors as one: copied together, reduced, and copied back.
class Coalesced final : public Operation {
 public:
  Coalesced(MpiGroup& group, std::vector<Tensor> xs, ReduceOp op, MpiScratch& scratch) : xs_(std::move(xs)) {
    std::int64_t count = 0;
    for (const Tensor& x : xs_) count += x.num_elements();
    const DType dtype = xs_.front().dtype();
    together_.resize(static_cast<std::size_t>(count * size_bytes(dtype)));
    all_reduce_ = mpi_all_reduce(group, Tensor(together_.data(), dtype, {count}), op, scratch);
  }

  void start() override {
    std::byte* to = together_.data();
    for (const Tensor& x : xs_) {
      if (bytes_of(x) > 0) std::memcpy(to, x.raw_data(), bytes_of(x));
      to += bytes_of(x);
    }
    all_reduce_->start();
  }

  Progress advance() override {
    const Progress progress = all_reduce_->advance();
    if (progress != Progress::kDone) return progress;
    const std::byte* from = together_.data();
    for (const Tensor& x : xs_) {
      if (bytes_of(x) > 0) std::memcpy(x.raw_data(), from, bytes_of(x));
      from += bytes_of(x);
    }
    return progress;
  }

 private:
  static std::size_t bytes_of(const Tensor& x) {
    return static_cast<std::size_t>(x.num_elements() * size_bytes(x.dtype()));
  }

  std::vector<Tensor> xs_;
  std::vector<std::byte> together_;
  std::unique_ptr<Operation> all_reduce_;
};

}  // namespace

std::unique_ptr<Operation> mpi_all_reduce(MpiGroup& group, const Tensor& x, ReduceOp op,
                                          MpiScratch& scratch) {
  return make_reduction(group, x, {}, op, scratch);
}

std::unique_ptr<Operation> mpi_all_reduce(MpiGroup& group, std::vector<Tensor> xs, ReduceOp op,
                                          MpiScratch& scratch) {
  return std::make_unique<Coalesced>(group, std::move(xs), op, scratch);
}

std::unique_ptr<Operation> mpi_reduce_scatter(MpiGroup& group, const Tensor& out, const Tensor& x,
                                              ReduceOp op, MpiScratch& scratch) {
  return make_reduction(group, x, out, op, scratch);
}

}  // namespace trireme
