// Dropout masks, straight from Philox.
#pragma once

#include "kernels/dropout.h"
#include "tests/reference/array.h"

namespace trireme::reference {

// What element `index` of a tensor is multiplied by: 0 or 1 / (1 - probability); 1 without dropout.
double dropout_factor(const Dropout& dropout, std::int64_t index);

// x times the factors of elements 0, 1, ...
Array dropout(const Array& x, const Dropout& dropout);

}  // namespace trireme::reference
