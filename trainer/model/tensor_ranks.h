// The ranks that share each layer of a model (tensor parallelism; Shoeybi et al. 2019).
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/arena.h"
#include "kernels/dropout.h"
#include "parallel/communicator.h"
#include "parallel/flat_range.h"

namespace trireme {

// Inside a layer each of R ranks has some heads, hidden units or tokens of the vocabulary, and all N rows of
// the activations [N, C]; between layers each has some of the rows, with all they are made of (sequence
// parallelism; Korthikanti et al. 2022).  A layer begins by gathering rows, and ends by summing what ranks
// have and giving each its rows.
//
// Rows are cut into parts of equal size, a multiple of 4; the last parts may have fewer rows, or none.  A
// tensor of own rows has room for a whole part behind its first row.
//
// A block's forward pass gathers rows twice (with cross-attention four times) and sums them twice (three
// times); backward gathers them as often again for what was gathered, and does the opposite of each: per
// block of an encoder or decoder-only model 4 + 6 = 10 exchanges, and each receives (R-1)/R N C numbers, N
// padded to equal parts.  The token table and the loss add 2 + 2 such exchanges a pass, and the loss 3
// N numbers, of its rows; the reducer sums the gradients of norms once a step, 2 (R-1)/R numbers for each.
class TensorRanks {
 public:
  // One rank has all.
  TensorRanks() = default;
  // `group` may be null, and outlives this.  Of the heads of keys and values ranks that share a query's have
  // copies, if there are fewer than ranks.  REQUIRES: one of the two is a multiple of the other.
  TensorRanks(Communicator* group, std::int64_t kv_heads);

  // Of one rank.
  static const TensorRanks& alone();

  bool is_alone() const { return group_ == nullptr; }
  int rank() const { return is_alone() ? 0 : group_->rank(); }
  int size() const { return is_alone() ? 1 : group_->size(); }
  Communicator* group() const { return group_; }
  // The ranks that have the same head of keys and values; null if each has its own.
  Communicator* kv_sharers() const { return kv_sharers_.get(); }

  // This rank's of `count` things.
  FlatRange share(std::int64_t count) const { return share_of(count, rank(), size()); }
  // The same of the heads of keys and values.
  FlatRange share_of_kv_heads(std::int64_t kv_heads) const;

  // Of N rows.
  std::int64_t rows_per_rank(std::int64_t rows) const;
  FlatRange own_rows(std::int64_t rows) const;
  Tensor own_rows_of(Tensor activation, std::int64_t rows) const {
    return activation.slice(0, 0, own_rows(rows).size());
  }
  // The mask of own rows, from that of all N, of `width` elements each.
  Dropout own_mask(Dropout mask, std::int64_t rows, std::int64_t width) const;

  // Makes the memory that rows are gathered and summed in: up to so many.  All layers share it.
  void allocate(Arena& arena, std::int64_t rows, std::int64_t width, DType dtype = DType::kFloat32);

  // Rows [N, C] from those of each rank, in memory that is valid until the next; own_x itself on one rank.
  Tensor gather(Tensor own_x, std::int64_t rows, Stream stream) const;
  // The memory of that.
  Tensor gathered(Tensor own_x, std::int64_t rows) const {
    return is_alone() ? own_x : gathered_NC_.slice(0, 0, rows);
  }
  // Where this rank's part of a sum [N, C] goes that sum() makes; own_y itself on one rank.
  Tensor partial(Tensor own_y, std::int64_t rows) const;
  // own_y = the own rows of the sum of all ranks' partial().
  void sum(Tensor own_y, std::int64_t rows, Stream stream) const;

  // The same in two steps, between which this rank computes.
  struct Gathering {
    Tensor rows;
    Communicator::Ticket ticket = 0;
  };
  Gathering begin_gather(Tensor own_x, std::int64_t rows, Stream stream) const;
  Communicator::Ticket begin_sum(Tensor own_y, std::int64_t rows, Stream stream) const;
  void wait(Communicator::Ticket ticket, Stream stream) const;

 private:
  // own_x with the room behind it.
  Tensor whole_part(Tensor own_x, std::int64_t rows) const;

  Communicator* group_ = nullptr;
  std::unique_ptr<Communicator> kv_sharers_;
  Tensor gathered_NC_;
  Tensor partial_NC_;
};

}  // namespace trireme
