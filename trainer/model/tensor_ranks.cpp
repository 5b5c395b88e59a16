#include "trainer/model/tensor_ranks.h"

#include <algorithm>

#include <glog/logging.h>

namespace trireme {
namespace {

constexpr std::int64_t kRowMultiple = 4;  // so that masks of any width begin at a multiple of 4

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

TensorRanks::TensorRanks(Communicator* group, std::int64_t kv_heads) {
  if (group == nullptr || group->size() == 1) return;
  group_ = group;
  if (kv_heads >= group->size()) {
    CHECK_EQ(kv_heads % group->size(), 0);
    return;
  }
  CHECK_EQ(group->size() % kv_heads, 0);
  kv_sharers_ = group->split(static_cast<int>(share_of_kv_heads(kv_heads).begin), group->rank(), "tp kv");
}

const TensorRanks& TensorRanks::alone() {
  static const TensorRanks ranks;
  return ranks;
}

FlatRange TensorRanks::share_of_kv_heads(std::int64_t kv_heads) const {
  if (kv_heads >= size()) return share(kv_heads);
  const std::int64_t head = rank() * kv_heads / size();
  return {head, head + 1};
}

std::int64_t TensorRanks::rows_per_rank(std::int64_t rows) const {
  return is_alone() ? rows : divide_up(divide_up(rows, size()), kRowMultiple) * kRowMultiple;
}

FlatRange TensorRanks::own_rows(std::int64_t rows) const {
  const std::int64_t per_rank = rows_per_rank(rows);
  return {std::min(rank() * per_rank, rows), std::min((rank() + 1) * per_rank, rows)};
}

Dropout TensorRanks::own_mask(Dropout mask, std::int64_t rows, std::int64_t width) const {
  // Where the part begins, a multiple of 4 also if there are no rows left for it.
  mask.offset += static_cast<std::uint64_t>(rank() * rows_per_rank(rows) * width);
  return mask;
}

void TensorRanks::allocate(Arena& arena, std::int64_t rows, std::int64_t width, DType dtype) {
  if (is_alone()) return;
  const Shape shape = {rows_per_rank(rows) * size(), width};
  gathered_NC_ = arena.allocate(dtype, shape);
  partial_NC_ = arena.allocate(dtype, shape);
}

Tensor TensorRanks::whole_part(Tensor own_x, std::int64_t rows) const {
  return {own_x.raw_data(), own_x.dtype(), {rows_per_rank(rows), own_x.dim(1)}, own_x.device()};
}

TensorRanks::Gathering TensorRanks::begin_gather(Tensor own_x, std::int64_t rows, Stream stream) const {
  if (is_alone()) return {own_x, 0};
  const Tensor parts = gathered_NC_.slice(0, 0, rows_per_rank(rows) * size());
  return {gathered(own_x, rows), group_->all_gather(parts, whole_part(own_x, rows), stream)};
}

Tensor TensorRanks::gather(Tensor own_x, std::int64_t rows, Stream stream) const {
  const Gathering gathering = begin_gather(own_x, rows, stream);
  wait(gathering.ticket, stream);
  return gathering.rows;
}

Tensor TensorRanks::partial(Tensor own_y, std::int64_t rows) const {
  return is_alone() ? own_y : partial_NC_.slice(0, 0, rows);
}

Communicator::Ticket TensorRanks::begin_sum(Tensor own_y, std::int64_t rows, Stream stream) const {
  if (is_alone()) return 0;
  const Tensor parts = partial_NC_.slice(0, 0, rows_per_rank(rows) * size());
  return group_->reduce_scatter(whole_part(own_y, rows), parts, ReduceOp::kSum, stream);
}

void TensorRanks::sum(Tensor own_y, std::int64_t rows, Stream stream) const {
  wait(begin_sum(own_y, rows, stream), stream);
}

void TensorRanks::wait(Communicator::Ticket ticket, Stream stream) const {
  if (!is_alone()) group_->wait(ticket, stream);
}

}  // namespace trireme
