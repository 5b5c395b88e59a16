#include "kernels/cpu/parallel_for.h"

#include <algorithm>

#include "kernels/cpu/thread_pool.h"
#include "kernels/threads.h"

namespace trireme::cpu {

void run_chunks(std::int64_t count, std::int64_t chunk, ChunkFunction function, const void* body) {
  const std::int64_t num_chunks = (count + chunk - 1) / chunk;
  const int threads = static_cast<int>(std::min<std::int64_t>(num_threads(), num_chunks));
  if (threads <= 1) {
    for (std::int64_t i = 0; i < num_chunks; ++i) function(body, i * chunk, std::min(count, (i + 1) * chunk));
    return;
  }
  static ThreadPool pool;
  pool.run({.count = count, .chunk = chunk, .function = function, .body = body, .num_helpers = threads - 1});
}

}  // namespace trireme::cpu
