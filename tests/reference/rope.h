// Rotary position embedding, by complex numbers.
#pragma once

#include "tests/reference/array.h"

namespace trireme::reference {

// x[n, h, 2 r] rotated by amplitude e^(i direction positions[n] frequencies[r]), `direction` being 1 or -1.
Array rope(const Array& x, const Tokens& positions, const Array& frequencies, double amplitude,
           double direction, std::int64_t h);

}  // namespace trireme::reference
