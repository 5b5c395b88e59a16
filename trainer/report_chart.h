// A chart of the report: inline SVG, with its data beside it for the read-out under the pointer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// Points by rising x; those that are not finite are gaps.
struct ChartSeries {
  std::string name;
  std::string colour;     // a CSS class: "first" or "second"
  bool smoothed = false;  // drawn faintly, under its running mean
  bool dotted = false;    // each point is marked
  std::vector<double> x;
  std::vector<double> y;
};

struct Chart {
  std::string title;
  std::string unit;  // after the values under the pointer; may be empty
  int width = 360;   // of the drawing, in its own units: text is 12 high
  int height = 230;
  bool from_zero = false;   // the axis begins there
  bool offers_log = false;  // a switch to a logarithmic axis
  std::vector<ChartSeries> series;
  std::vector<double> marks;  // x of vertical lines: where the run was resumed
};

// A <figure>.  `id` is unique on the page.
std::string chart_html(const Chart& chart, const std::string& id);

std::string html_escaped(std::string_view text);

}  // namespace trireme
