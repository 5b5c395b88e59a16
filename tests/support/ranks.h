// Tests that run on one rank when started plainly and on several when started by mpirun.
//
// A binary that links ranks.cpp gets its main.  Every rank runs every test; a test that fails on one rank
// ends the job, because the others may wait for it in a collective.
#pragma once

#include "parallel/process.h"

namespace trireme {

Process& test_process();

}  // namespace trireme
