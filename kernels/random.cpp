#include "kernels/random.h"

#include "kernels/check.h"
#include "kernels/cpu/isa.h"

namespace trireme {

TRIREME_DECLARE_CPU(fill_normal)

void fill_normal(Tensor x, float stddev, std::uint64_t key, Stream stream) {
  OperandCheck("fill_normal").operand("x", x, x.shape());
  TRIREME_CPU(fill_normal)(x, stddev, key, stream);
}

}  // namespace trireme
