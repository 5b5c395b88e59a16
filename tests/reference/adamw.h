// The AdamW update.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/adamw.h"
#include "tests/reference/array.h"

namespace trireme::reference {

// The update number `step`, from 1.
void adamw_step(Array& param, Array& m, Array& v, const Array& grad, double gradient_scale,
                const AdamWOptions& options, std::int64_t step);
// What the op takes for the same.
std::vector<float> adamw_factors(double gradient_scale, const AdamWOptions& options, std::int64_t step);

}  // namespace trireme::reference
