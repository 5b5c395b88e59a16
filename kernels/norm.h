// Normalisation of rows, fused with the residual addition before it.  N rows of width C.
//
//     sum = residual + dropout(branch)
//     LayerNorm:  y = (sum - mean) * rstd * weight + bias,  rstd = 1 / sqrt(variance + epsilon)
//     RMSNorm:    y = sum * rstd * weight,                  rstd = 1 / sqrt(mean of sum^2 + epsilon)
//
// LayerNorm (Ba et al. 2016) has the biased variance.  RMSNorm (Zhang & Sennrich 2019) is what operands
// without `mean`, `bias` and `dbias` ask for: they are empty together.
//
// Numbers are float32.  On a CUDA device rows (y, sum, residual, branch and their gradients) may be bfloat16,
// all or none; weight and bias then are bfloat16 or float32, and what belongs to no row or to all (mean,
// rstd, dweight, dbias) stays float32.  What is normalised is the sum as rounded.
#pragma once

#include "kernels/dropout.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// With an empty `branch`, sum is residual itself and is not written (pass it empty).  `sum` may be
// `residual`'s memory.  mean[N] and rstd[N] are what backward needs.
void residual_norm_forward(Tensor y_NC, Tensor sum_NC, Tensor mean_N, Tensor rstd_N, Tensor residual_NC,
                           Tensor branch_NC, Tensor weight_C, Tensor bias_C, float epsilon, Dropout dropout,
                           Stream stream);

// On entry `dsum` holds the gradient that reaches sum by other ways (the rest of the residual stream).
// dsum += the gradient through the norm, and so becomes the gradient of `residual`; dbranch = dropout(dsum),
// not written when empty.  dweight, dbias +=.  `sum` is what was normalised.
void residual_norm_backward(Tensor dsum_NC, Tensor dbranch_NC, Tensor dweight_C, Tensor dbias_C, Tensor dy_NC,
                            Tensor sum_NC, Tensor mean_N, Tensor rstd_N, Tensor weight_C, Dropout dropout,
                            Stream stream);

}  // namespace trireme
