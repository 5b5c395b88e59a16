// How the threads of a block share the rows of a matrix where each row is reduced: norms and the like.
#pragma once

#include <cstdint>

#include "kernels/cuda/block_reduce.cuh"

namespace trireme::cuda {

inline constexpr int kMaxWarpsPerRow = 16;
inline constexpr int kMaxRowThreads = kMaxWarpsPerRow * kWarpSize;  // of a block

// How rows of `width` numbers are dealt out.  Made by the host.
struct RowPlan {
  int width = 0;
  float inverse_width = 0.0F;  // 1 / width
  // Of the warps that share a row: as few as hold it in registers, if there are so many.
  int log2_warps = 0;
  // Each warp has a range of columns, so that the distance of a thread's packs is a constant.
  int columns_per_warp = 0;
  int rows_at_once = 0;  // of a block

  unsigned num_threads() const { return static_cast<unsigned>((rows_at_once << log2_warps) * kWarpSize); }
};

// For threads that hold kPacks packs of kWidth columns each.
template <int kPacks, int kWidth>
RowPlan plan_rows(std::int64_t width) {
  constexpr int kStep = kWarpSize * kWidth;
  RowPlan plan;
  plan.width = static_cast<int>(width);
  plan.inverse_width = 1.0F / static_cast<float>(width);
  while (1 << plan.log2_warps < kMaxWarpsPerRow && (kStep * kPacks << plan.log2_warps) < width)
    ++plan.log2_warps;
  const int warps = 1 << plan.log2_warps;
  plan.columns_per_warp = (plan.width + warps * kStep - 1) / (warps * kStep) * kStep;
  plan.rows_at_once = warps < 4 ? 4 / warps : 1;
  return plan;
}

// The warps that share a row.
class RowGroup {
 public:
  __device__ explicit RowGroup(const RowPlan& plan)
      : num_warps_(1 << plan.log2_warps), log2_warps_(plan.log2_warps) {}

  // Of the block's groups.
  __device__ int index() const { return warp_of_block() >> log2_warps_; }
  // In the group.
  __device__ int warp() const { return warp_of_block() & (num_warps_ - 1); }
  __device__ int lane() const { return static_cast<int>(threadIdx.x) % kWarpSize; }

  // Replaces each x by its sum over the group's threads.  REQUIRES: all threads of the block call it.
  template <int kCount>
  __device__ void sum(float (&x)[kCount]) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) x[i] = warp_sum(x[i]);
    if (num_warps_ == 1) return;
    // Two copies in turn: when one is written again, all have passed the barrier behind its last reader.
    __shared__ float of_warps[2][kCount][kMaxWarpsPerRow];
    turn_ ^= 1;
    if (lane() == 0) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) of_warps[turn_][i][warp_of_block()] = x[i];
    }
    __syncthreads();
    const int first = index() << log2_warps_;
#pragma unroll
    for (int i = 0; i < kCount; ++i) x[i] = of_warps[turn_][i][first];
#pragma unroll 1
    for (int warp = first + 1; warp < first + num_warps_; ++warp) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) x[i] += of_warps[turn_][i][warp];
    }
  }

 private:
  __device__ static int warp_of_block() {
    return static_cast<int>(threadIdx.x) / kWarpSize;
  }

  int num_warps_;
  int log2_warps_;
  int turn_ = 0;
};

// A thread's part of a row: packs of kWidth columns, of which it holds the first kPacks as Held.  What a
// group can't hold of a very wide row is read again on every visit, from where it is.
template <typename Held, int kPacks, int kWidth>
class HeldRow {
 public:
  // Of no columns, if there is no row for the group.
  __device__ HeldRow(const RowGroup& group, const RowPlan& plan, bool is_there)
      : first_(group.warp() * plan.columns_per_warp + group.lane() * kWidth),
        end_(is_there ? min(plan.width, (group.warp() + 1) * plan.columns_per_warp) : 0) {}

  // Calls use(Held&, c) for each pack that is held: of columns c to c + kWidth - 1.
  template <typename Use>
  __device__ void visit_held(Use use) {
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      if (first_ + k * kStep < end_) use(held_[k], first_ + k * kStep);
    }
  }

  // Calls use(Held&, c) for all packs, after read(Held&, c) for those that aren't held.
  template <typename Read, typename Use>
  __device__ void visit(Read read, Use use) {
    visit_held(use);
    for (int c = first_ + kPacks * kStep; c < end_; c += kStep) {
      Held again;
      read(again, c);
      use(again, c);
    }
  }

 private:
  static constexpr int kStep = kWarpSize * kWidth;
  Held held_[kPacks];
  int first_, end_;
};

}  // namespace trireme::cuda
