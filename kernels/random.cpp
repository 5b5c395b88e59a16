#include "kernels/random.h"

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(fill_normal)

void fill_normal(Tensor x, float stddev, std::uint64_t key, std::int64_t first_index, Stream stream) {
  OperandCheck("fill_normal", stream.device()).operand("x", x, x.shape());
  TRIREME_RUN(fill_normal, stream)(x, stddev, key, first_index, stream);
}

}  // namespace trireme
