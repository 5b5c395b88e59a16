#include "kernels/threads.h"

#include <algorithm>

#include <glog/logging.h>
#include <sched.h>

namespace trireme {
namespace {

int num_usable_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  PCHECK(sched_getaffinity(0, sizeof(cores), &cores) == 0);
  return std::max(1, CPU_COUNT(&cores));
}

int& count() {
  static int value = num_usable_cores();
  return value;
}

}  // namespace

void set_num_threads(int new_count) {
  CHECK_GE(new_count, 1);
  count() = new_count;
}

int num_threads() {
  return count();
}

}  // namespace trireme
