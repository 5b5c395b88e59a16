// How many CPU threads an op may use.
#pragma once

namespace trireme {

// Set once, before the first op: by default all cores that this process may run on.  REQUIRES: count >= 1.
void set_num_threads(int count);
int num_threads();

}  // namespace trireme
