// The run as it is seen by who waits for it.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include "trainer/metrics.h"

namespace trireme {

// Columns of the terminal that standard output is; 0 if it is none.  A launcher that stands between the
// process and a terminal says so by the environment variable TRIREME_TERMINAL=COLUMNS.
int terminal_columns();

// One line, rewritten in place, in a terminal of `columns` columns; plain lines if that is 0.
class Progress {
 public:
  Progress(std::ostream& out, int columns) : out_(out), columns_(columns) {}
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void step(const StepMetrics& metrics);
  // A line that stays.
  void note(const std::string& text);

 private:
  std::ostream& out_;
  int columns_;
  std::string line_;  // that stands in the terminal now
};

}  // namespace trireme
