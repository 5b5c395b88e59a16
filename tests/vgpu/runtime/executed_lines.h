#pragma once

#include <string>

namespace trireme::vgpu {

// Leaves a file *.lines in the folder: of each line of CUDA source for which a kernel of the program has an
// instruction, "1 FILE:LINE" if one was executed by some thread, "0 FILE:LINE" if none was.  A line is also
// that of a call that was inlined.  lines.py adds up the files of many processes.
void leave_executed_lines(const std::string& folder);

}  // namespace trireme::vgpu
