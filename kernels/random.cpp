#include "kernels/random.h"

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(fill_normal)

void fill_normal(Tensor x, float stddev, std::uint64_t key, std::int64_t first_index, Stream stream) {
  OperandCheck("fill_normal").operand("x", x, x.shape());
  TRIREME_CPU(fill_normal)(x, stddev, key, first_index, stream);
}

}  // namespace trireme
