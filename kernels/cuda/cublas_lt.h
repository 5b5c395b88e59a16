// Matrix products by cuBLASLt, with what it can do to a product on its way to memory.
#pragma once

#include <cstdint>

#include "kernels/matmul.h"

namespace trireme::cuda {

// What becomes of c before it is stored.
enum class Epilogue : std::uint8_t {
  kNone,
  kBias,          // c + bias[N]
  kGelu,          // gelu(c + bias[N]) by the tanh formula; bias may be empty
  kGeluGradient,  // c gelu'(preactivation), likewise
  kBiasGradient,  // c as it is; bias[M] = the sums over K of a's rows
};

// c[M, N] = epilogue(a[M, K] b[K, N]), as matmul (kernels/matmul.h) has it.
struct Product {
  Tensor c_MN;
  Tensor a;
  Tensor b;
  MatmulOptions options = {};
  Epilogue epilogue = Epilogue::kNone;
  Tensor bias = {};  // of c's type; what kBiasGradient overwrites
  // Of c's type: what kGelu applies gelu to, if that is wanted, or what kGeluGradient reads.
  Tensor preactivation_MN = {};
};

// Whether a preactivation may lie there: cuBLASLt wants whole vectors.
bool can_be_preactivation(Tensor preactivation_MN);

// The algorithm for each shape is asked for once.  What cuBLASLt refuses is fatal, and named with the shape.
void multiply(const Product& product, const Stream& stream);
// Does nothing, and gives false, where cuBLASLt has no algorithm for this product with its epilogue.
[[nodiscard]] bool try_to_multiply(const Product& product, const Stream& stream);

}  // namespace trireme::cuda
