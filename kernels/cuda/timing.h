// How long a device takes.
#pragma once

#include <functional>

#include "kernels/stream.h"

namespace trireme::cuda {

// Milliseconds from the first to the last of the work that `give` gives to the stream.  Waits for it.
double elapsed_ms(const std::function<void()>& give, Stream stream);

// Of the work that one call gives to the stream: the median of `repetitions`, each of as many calls as hide
// the host's time, after a first one that isn't counted.  1: a single call.
double time_ms(const std::function<void()>& call, Stream stream, int repetitions);

}  // namespace trireme::cuda
