// The report's fixed parts.
#pragma once

namespace trireme {

extern const char* const kReportStyle;   // CSS
extern const char* const kReportScript;  // JavaScript: reads values off the curves under the pointer

}  // namespace trireme
