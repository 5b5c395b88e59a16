// The work by which the CPU's speed of light is measured.
#pragma once

namespace trireme {

// Runs independent fused multiply-adds out of registers, about 2 ms of them on each thread that ops use.
// Returns how many floating-point operations that was, a multiply-add being two.
double multiply_adds();

}  // namespace trireme
