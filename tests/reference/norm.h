// Layer and root mean square normalisation with the residual addition before it.
#pragma once

#include "kernels/dropout.h"
#include "tests/reference/array.h"

namespace trireme::reference {

struct ResidualNorm {
  Array y, sum, mean, rstd;
};
// An empty branch is none.  Without bias it is RMSNorm, whose mean and dbias are empty.
ResidualNorm residual_norm(const Array& residual, const Array& branch, const Array& weight, const Array& bias,
                           double epsilon, const Dropout& dropout, std::int64_t n, std::int64_t c);

struct ResidualNormGradients {
  Array dsum, dbranch, dweight, dbias;
};
// `dsum` is the gradient that reaches the sum by other ways.
ResidualNormGradients residual_norm_backward(const Array& dsum, const Array& dy, const Array& sum,
                                             const Array& mean, const Array& rstd, const Array& weight,
                                             const Dropout& dropout, std::int64_t n, std::int64_t c);

}  // namespace trireme::reference
