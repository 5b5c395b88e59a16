// The AdamW update.
#pragma once

#include "kernels/adamw.h"
#include "tests/reference/array.h"

namespace trireme::reference {

void adamw_step(Array& param, Array& m, Array& v, const Array& grad, double gradient_scale,
                const AdamWOptions& options);

}  // namespace trireme::reference
