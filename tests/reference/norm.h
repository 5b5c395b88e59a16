// Layer and root mean square normalisation with the residual addition before it.
#pragma once

#include "kernels/dropout.h"
#include "tests/reference/array.h"

namespace trireme::reference {

struct ResidualLayerNorm {
  Array y, sum, mean, rstd;
};
// An empty branch is none.
ResidualLayerNorm residual_layer_norm(const Array& residual, const Array& branch, const Array& weight,
                                      const Array& bias, double epsilon, const Dropout& dropout,
                                      std::int64_t n, std::int64_t c);

struct ResidualLayerNormGradients {
  Array dsum, dbranch, dweight, dbias;
};
// `dsum` is the gradient that reaches the sum by other ways.
ResidualLayerNormGradients residual_layer_norm_backward(const Array& dsum, const Array& dy, const Array& sum,
                                                        const Array& mean, const Array& rstd,
                                                        const Array& weight, const Dropout& dropout,
                                                        std::int64_t n, std::int64_t c);

struct ResidualRmsNorm {
  Array y, sum, rrms;
};
ResidualRmsNorm residual_rms_norm(const Array& residual, const Array& branch, const Array& weight,
                                  double epsilon, const Dropout& dropout, std::int64_t n, std::int64_t c);

struct ResidualRmsNormGradients {
  Array dsum, dbranch, dweight;
};
ResidualRmsNormGradients residual_rms_norm_backward(const Array& dsum, const Array& dy, const Array& sum,
                                                    const Array& rrms, const Array& weight,
                                                    const Dropout& dropout, std::int64_t n, std::int64_t c);

}  // namespace trireme::reference
