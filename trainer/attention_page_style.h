// The fixed parts of the page about attention, besides those that it has of the report.
#pragma once

namespace trireme {

extern const char* const kAttentionStyle;   // CSS, behind kReportStyle
extern const char* const kAttentionLegend;  // HTML: which colour is how much
extern const char* const kAttentionScript;  // JavaScript: draws the maps

}  // namespace trireme
