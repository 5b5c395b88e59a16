// The residual addition where no norm follows that would do it.
#pragma once

#include "kernels/dropout.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// sum = residual + dropout(branch) + row, the latter added to every row.  `branch` and `row` may be empty;
// sum may be residual.  Numbers are float32; on a CUDA device all but the row may be bfloat16, all or none.
void add_residual(Tensor sum_NC, Tensor residual_NC, Tensor branch_NC, Tensor row_C, Dropout dropout,
                  Stream stream);

}  // namespace trireme
