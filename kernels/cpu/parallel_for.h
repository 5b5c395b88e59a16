// The one way in which CPU kernels use threads.
#pragma once

#include <cstdint>

namespace trireme::cpu {

using ChunkFunction = void (*)(const void* body, std::int64_t begin, std::int64_t end);
// Calls function(body, begin, end) for the ranges of `chunk` indices (the last may be shorter) of [0, count).
void run_chunks(std::int64_t count, std::int64_t chunk, ChunkFunction function, const void* body);

// body(begin, end) for the ranges of `chunk` indices that [0, count) falls into, by as many threads as ops
// may use; returns when all have run.  Ranges depend on `count` and `chunk` alone, so what a body computes
// from its range is the same for any number of threads.  Threads take the next range when they are done with
// the last: one that the system holds up holds up no other until the end, and uneven work evens out, best
// when the heaviest ranges come first.
template <typename Body>
void parallel_for(std::int64_t count, std::int64_t chunk, const Body& body) {
  run_chunks(
      count, chunk,
      [](const void* the_body, std::int64_t begin, std::int64_t end) {
        (*static_cast<const Body*>(the_body))(begin, end);
      },
      &body);
}

}  // namespace trireme::cpu
