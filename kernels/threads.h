// How many CPU threads an op may use.
#pragma once

namespace trireme {

// Set by the thread that calls ops, between two of them: by default all cores that this process may run
// on.  REQUIRES: count >= 1.
//
// Ops are called by one thread at a time, and each uses all of these threads; two ops at once would ask for
// twice as many as there are cores.  Other threads of the process (a loader, a communicator) call none.
void set_num_threads(int count);
int num_threads();

}  // namespace trireme
