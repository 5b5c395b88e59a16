#include "kernels/threads.h"

#include <glog/logging.h>
#include <omp.h>

namespace trireme {

void set_num_threads(int count) {
  CHECK_GE(count, 1);
  omp_set_num_threads(count);
}

int num_threads() {
  return omp_get_max_threads();
}

}  // namespace trireme
