// Signals that ask a run to save and leave.
#pragma once

namespace trireme {

// While it lives, SIGINT, SIGTERM and SIGUSR1 are remembered instead of ending the process.  A second SIGINT
// ends it at once, for somebody at a terminal who does not want to wait.  One object at a time.  Afterwards
// SIGUSR1 is ignored, and the others end the process.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // The last signal that came; 0 if none has.
  int received() const;
};

}  // namespace trireme
