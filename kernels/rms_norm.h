// Root mean square normalisation (Zhang & Sennrich 2019), fused with the residual addition before it as
// residual_layer_norm_forward (norm.h) is.  N rows of width C.
#pragma once

#include "kernels/dropout.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// sum = residual + dropout(branch);  y = sum * rrms * weight,  rrms = 1 / sqrt(mean of sum^2 + epsilon). With
// an empty `branch`, sum is residual itself and is not written (pass it empty).  `sum` may be `residual`'s
// memory.  rrms[N] is what backward needs.
void residual_rms_norm_forward(Tensor y_NC, Tensor sum_NC, Tensor rrms_N, Tensor residual_NC,
                               Tensor branch_NC, Tensor weight_C, float epsilon, Dropout dropout,
                               Stream stream);

// As residual_layer_norm_backward: dsum += the gradient through the norm; dbranch = dropout(dsum), not
// written when empty; dweight +=.
void residual_rms_norm_backward(Tensor dsum_NC, Tensor dbranch_NC, Tensor dweight_C, Tensor dy_NC,
                                Tensor sum_NC, Tensor rrms_N, Tensor weight_C, Dropout dropout,
                                Stream stream);

}  // namespace trireme
