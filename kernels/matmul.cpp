#include "kernels/matmul.h"

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(matmul)

void matmul(Tensor c_MN, Tensor a, Tensor b, MatmulOptions options, Stream stream) {
  const OperandCheck check("matmul", stream.device());
  check.num_dims("c", c_MN, 2);
  check.num_dims("a", a, 2);
  const std::int64_t m = c_MN.dim(0);
  const std::int64_t n = c_MN.dim(1);
  const std::int64_t k = a.dim(options.transpose_a ? 0 : 1);
  const DType dtype = check.type_of_numbers("a", a);
  check.operand("a", a, options.transpose_a ? Shape{k, m} : Shape{m, k}, Layout::kStrided, dtype);
  check.operand("b", b, options.transpose_b ? Shape{n, k} : Shape{k, n}, Layout::kStrided, dtype);
  const DType result = c_MN.dtype() == dtype ? dtype : DType::kFloat32;
  check.operand("c", c_MN, {m, n}, Layout::kStrided, result);
  CHECK_GT(k, 0) << "matmul: an empty sum";
  TRIREME_RUN(matmul, stream)(c_MN, a, b, options, stream);
}

}  // namespace trireme
