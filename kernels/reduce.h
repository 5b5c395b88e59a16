// Reductions of flat float32 tensors to one number.  Summed in double in an order that depends on the length
// (and the type) alone, so the result is the same for any number of threads.
#pragma once

#include "kernels/stream.h"
#include "kernels/tensor.h"

namespace trireme {

// result[0] += sum of a - b.
void accumulate_sum_of_differences(Tensor result_1, Tensor a, Tensor b, Stream stream);

// result[0] += sum of x^2; on a CUDA device x may be bfloat16.  A NaN or Inf in x makes the result not
// finite.
void accumulate_sum_of_squares(Tensor result_1, Tensor x, Stream stream);

}  // namespace trireme
