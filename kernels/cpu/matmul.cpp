// Matrix products by oneDNN.
#include "kernels/matmul.h"

#include <algorithm>

#include <glog/logging.h>
#include <oneapi/dnnl/dnnl.h>

#include "kernels/cpu/isa.h"

namespace trireme::cpu {
namespace {

// oneDNN keeps to the level that the other kernels run on.
bool limit_isa() {
  if (isa() == Isa::kBaseline) dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41);
  if (isa() == Isa::kV3) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
  return true;
}

// At least 1, also where there is one row only and the stride means nothing.
dnnl_dim_t row_stride(const Tensor& x) {
  return std::max<dnnl_dim_t>({x.stride(0), x.dim(1), 1});
}

}  // namespace

// On 1024 rows and GPT-2's widths oneDNN's classic GEMM runs all three transpositions of plain row-major
// operands within 3 % of what its matmul primitive reaches on weights packed beforehand, and needs no
// primitive.
void matmul(Tensor c_MN, Tensor a, Tensor b, MatmulOptions options, Stream) {
  [[maybe_unused]] static const bool limited = limit_isa();
  const std::int64_t m = c_MN.dim(0);
  const std::int64_t n = c_MN.dim(1);
  const std::int64_t k = a.dim(options.transpose_a ? 0 : 1);
  if (m == 0 || n == 0) return;
  const dnnl_status_t status =
      dnnl_sgemm(options.transpose_a ? 'T' : 'N', options.transpose_b ? 'T' : 'N', m, n, k, 1.0F,
                 a.data<float>(), row_stride(a), b.data<float>(), row_stride(b),
                 options.accumulate ? 1.0F : 0.0F, c_MN.data<float>(), row_stride(c_MN));
  CHECK_EQ(status, dnnl_success) << "matmul: oneDNN refused " << m << " x " << n << " x " << k;
}

}  // namespace trireme::cpu
