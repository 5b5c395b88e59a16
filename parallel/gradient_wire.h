// In which type gradients travel.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/buffer.h"
#include "kernels/dtype.h"
#include "parallel/communicator.h"

namespace trireme {

// Sums buckets of float32 gradients over a communicator, as they are or as bfloat16, which halves what is
// sent. Then each rank's g is rounded once, and their sum, taken in float32, once more: each
// element is off by at most 2^-7 times the sum of its |g|: 2^-8 from what is sent and 2^-8 from the result,
// and a hair.  A group of one rounds nothing.
//
// Its memory is the CPU's, for now.
class GradientWire {
 public:
  // How many buckets may be under way at a time, if they are copied.
  static constexpr std::size_t kSlots = 2;

  // `dtype` is kFloat32 or kBfloat16; the gradients are on this device.  The communicator outlives it.
  GradientWire(Communicator& communicator, DType dtype, std::int64_t largest_bucket, Device device = {});

  // No bound where buckets travel in place.
  bool is_in_place() const { return !copies_; }

  // Begins; the sums are in x, or in `out`, which is this rank's part of x, after arrived().
  Communicator::Ticket all_reduce(Tensor x, Stream stream);
  Communicator::Ticket reduce_scatter(Tensor out, Tensor x, Stream stream);
  // Once for each of them, in their order, when its ticket was waited for.
  void arrived(Stream stream);

 private:
  struct Slot {
    Tensor wire;  // the sums
    Tensor out;
  };

  // x, rounded, in the next free slot.
  Tensor round(Tensor x, Stream stream);

  Communicator& communicator_;
  bool copies_;
  std::int64_t slot_elements_;
  Buffer memory_;
  std::array<Slot, kSlots> slots_;
  std::size_t num_sent_ = 0;
  std::size_t num_arrived_ = 0;
};

}  // namespace trireme
