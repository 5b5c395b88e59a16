#include "trainer/report_chart.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "trainer/readable.h"

namespace trireme {
namespace {

constexpr std::size_t kMostPoints = 1200;  // more than a screen is wide shows nothing more

// In few digits: pixels, or data for the pointer.
std::string text_of(double value, int digits = 5) {
  if (!std::isfinite(value)) return "null";
  std::array<char, 32> text;
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::general, digits).ptr;
  return {text.data(), end};
}

std::string tick_text(double value) {
  if (value == 0) return "0";  // and not -0
  if (std::abs(value) >= 1e4) return readable_count(value);
  std::string text = text_of(value, 4);
  const std::size_t exponent = text.find("e-0");
  if (exponent != std::string::npos) text.erase(exponent + 2, 1);
  return text;
}

// From values to pixels along one axis.
class Axis {
 public:
  Axis(double low, double high, double low_pixel, double high_pixel, bool log)
      : log_(log), low_(low), high_(high), low_pixel_(low_pixel), high_pixel_(high_pixel) {
    if (log_) {
      // At least from one tick to the next, or there would be none.
      if (high_ / low_ < 1.2) low_ /= 1.1, high_ *= 1.1;
    } else if (!(high_ > low_)) {
      const double margin = low_ == 0 ? 1 : std::abs(low_) * 0.1;
      low_ -= margin;
      high_ += margin;
    }
  }

  double pixel(double value) const {
    const double way = log_ ? (std::log(value) - std::log(low_)) / (std::log(high_) - std::log(low_))
                            : (value - low_) / (high_ - low_);
    return low_pixel_ + way * (high_pixel_ - low_pixel_);
  }
  bool shows(double value) const { return std::isfinite(value) && (!log_ || value > 0); }

  // Round values within the axis, about `count` of them.
  std::vector<double> ticks(int count) const {
    if (log_ && high_ / low_ > 4) return log_ticks(count);
    const double raw = (high_ - low_) / count;
    const double decade = std::pow(10, std::floor(std::log10(raw)));
    double step = 10 * decade;
    for (const double nice : {1.0, 2.0, 5.0}) {
      if (nice * decade >= raw) {
        step = nice * decade;
        break;
      }
    }
    std::vector<double> values;
    for (double i = std::ceil(low_ / step - 1e-9); i * step <= high_ + 1e-9 * step; ++i)
      values.push_back(i * step);
    return values;
  }

 private:
  std::vector<double> log_ticks(int count) const {
    std::vector<double> values;
    const double decades = std::log10(high_) - std::log10(low_);
    const std::vector<double> within = decades > 3     ? std::vector<double>{1}
                                       : decades > 1.2 ? std::vector<double>{1, 2, 5}
                                                       : std::vector<double>{1, 1.5, 2, 3, 5, 7};
    const int stride = std::max(1, static_cast<int>(std::ceil(decades / count)));
    for (int power = static_cast<int>(std::floor(std::log10(low_))); std::pow(10, power) <= high_; ++power) {
      if (decades > 3 && power % stride != 0) continue;
      for (const double nice : within) {
        const double value = nice * std::pow(10, power);
        if (value >= low_ * (1 - 1e-9) && value <= high_ * (1 + 1e-9)) values.push_back(value);
      }
    }
    return values;
  }

  bool log_;
  double low_, high_, low_pixel_, high_pixel_;
};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

// Fewer points of the same outline: of each bucket its lowest and highest, in their order.
ChartSeries thinned(const ChartSeries& series) {
  if (series.x.size() <= kMostPoints) return series;
  ChartSeries out = series;
  out.x.clear();
  out.y.clear();
  const std::size_t bucket = (series.x.size() + kMostPoints / 2 - 1) / (kMostPoints / 2);
  for (std::size_t begin = 0; begin < series.x.size(); begin += bucket) {
    const std::size_t end = std::min(series.x.size(), begin + bucket);
    std::size_t lowest = begin, highest = begin;
    for (std::size_t i = begin; i < end; ++i) {
      if (series.y[i] < series.y[lowest] || !std::isfinite(series.y[lowest])) lowest = i;
      if (series.y[i] > series.y[highest] || !std::isfinite(series.y[highest])) highest = i;
    }
    for (const std::size_t i : {std::min(lowest, highest), std::max(lowest, highest)}) {
      if (!out.x.empty() && out.x.back() == series.x[i]) continue;
      out.x.push_back(series.x[i]);
      out.y.push_back(series.y[i]);
    }
  }
  return out;
}

// The means over a window around each value, narrower towards the ends, so that they neither run ahead of a
// curve nor lag behind it.  What is not finite stays and counts for nothing.
std::vector<double> window_means(const std::vector<double>& values, std::size_t reach) {
  const std::size_t size = values.size();
  std::vector<double> sums(size + 1), counts(size + 1);  // of what stands before
  for (std::size_t i = 0; i < size; ++i) {
    const bool finite = std::isfinite(values[i]);
    sums[i + 1] = sums[i] + (finite ? values[i] : 0);
    counts[i + 1] = counts[i] + (finite ? 1 : 0);
  }
  std::vector<double> means = values;
  for (std::size_t i = 0; i < size; ++i) {
    if (!std::isfinite(values[i])) continue;
    const std::size_t begin = i - std::min({i, size - 1 - i, reach}), end = 2 * i - begin + 1;
    means[i] = (sums[end] - sums[begin]) / (counts[end] - counts[begin]);
  }
  return means;
}

ChartSeries smooth(const ChartSeries& series) {
  ChartSeries out = series;
  const std::size_t reach = series.y.size() / 120 + 1;
  // Twice, or a single peak would become a box.
  out.y = window_means(window_means(series.y, reach), reach);
  return out;
}

std::string path_of(const ChartSeries& series, const Axis& x, const Axis& y) {
  std::string path;
  bool pen_down = false;
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    if (!y.shows(series.y[i])) {
      pen_down = false;
      continue;
    }
    path += (pen_down ? "L" : "M") + text_of(x.pixel(series.x[i])) + " " + text_of(y.pixel(series.y[i]));
    pen_down = true;
  }
  return path;
}

struct Margins {
  static constexpr int kLeft = 52, kRight = 18, kTop = 10, kBottom = 26;
};

std::string grid(const Chart& chart, const Axis& x, const Axis& y) {
  const std::string left = std::to_string(Margins::kLeft),
                    right = std::to_string(chart.width - Margins::kRight);
  const std::string top = std::to_string(Margins::kTop),
                    bottom = std::to_string(chart.height - Margins::kBottom);
  std::string svg;
  for (const double tick : y.ticks(5)) {
    const double at = y.pixel(tick);
    svg += "<line class=grid x1=" + left + " x2=" + right + " y1=" + text_of(at) + " y2=" + text_of(at) +
           "></line><text class=tick text-anchor=end x=" + std::to_string(Margins::kLeft - 7) +
           " y=" + text_of(at + 4) + ">" + tick_text(tick) + "</text>";
  }
  for (const double tick : x.ticks(std::max(3, chart.width / 110))) {
    svg += "<text class=tick text-anchor=middle x=" + text_of(x.pixel(tick)) +
           " y=" + std::to_string(chart.height - 7) + ">" + tick_text(tick) + "</text>";
  }
  for (const double mark : chart.marks) {
    const std::string at = text_of(x.pixel(mark));
    svg += "<line class=mark x1=" + at + " x2=" + at + " y1=" + top + " y2=" + bottom +
           "><title>Resumed after step " + text_of(mark, 12) + "</title></line>";
  }
  return svg;
}

std::string curves(const ChartSeries& series, const Axis& x, const Axis& y) {
  const auto path = [&](const ChartSeries& points, const std::string& style) {
    return "<path class=\"" + style + " " + series.colour + "\" d=\"" + path_of(thinned(points), x, y) +
           "\"></path>";
  };
  const bool smoothed = series.smoothed && series.x.size() >= 40;
  std::string svg = path(series, smoothed ? "faint" : "line");
  if (smoothed) svg += path(smooth(series), "line");
  if (series.dotted || series.x.size() == 1) {
    const ChartSeries dots = thinned(series);
    for (std::size_t i = 0; i < dots.x.size(); ++i) {
      if (!y.shows(dots.y[i])) continue;
      svg += "<circle class=" + series.colour + " r=2.6 cx=" + text_of(x.pixel(dots.x[i])) +
             " cy=" + text_of(y.pixel(dots.y[i])) + "></circle>";
    }
  }
  return svg;
}

std::string svg_of(const Chart& chart, bool log) {
  Range x_range, y_range;
  for (const auto& series : chart.series) {
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      x_range.include(series.x[i]);
      if (std::isfinite(series.y[i]) && (!log || series.y[i] > 0)) y_range.include(series.y[i]);
    }
  }
  x_range.include(0);
  if (x_range.high <= 0) x_range.high = 1;
  if (y_range.empty()) y_range = {log ? 1.0 : 0.0, 1};
  if (log) {
    y_range = {y_range.low / 1.05, y_range.high * 1.05};
  } else {
    const double margin = 0.04 * (y_range.high - y_range.low);
    if (chart.from_zero) y_range.low = std::min(0.0, y_range.low);
    y_range = {y_range.low == 0 ? 0 : y_range.low - margin, y_range.high + margin};
  }
  const Axis x(x_range.low, x_range.high, Margins::kLeft, chart.width - Margins::kRight, false);
  const Axis y(y_range.low, y_range.high, chart.height - Margins::kBottom, Margins::kTop, log);

  std::string svg = "<svg class=" + std::string(log ? "log" : "linear") + " viewBox=\"0 0 " +
                    std::to_string(chart.width) + " " + std::to_string(chart.height) +
                    "\" role=img aria-label=\"" + html_escaped(chart.title) + "\" data-x=\"" +
                    text_of(x_range.low, 12) + " " + text_of(x_range.high, 12) + " " +
                    text_of(x.pixel(x_range.low)) + " " + text_of(x.pixel(x_range.high)) + "\">";
  svg += grid(chart, x, y);
  for (const auto& series : chart.series) svg += curves(series, x, y);
  return svg + "<line class=pointer y1=" + std::to_string(Margins::kTop) +
         " y2=" + std::to_string(chart.height - Margins::kBottom) + "></line></svg>";
}

std::string json_numbers(const std::vector<double>& values, int digits) {
  std::string text = "[";
  for (const double value : values) text += (text.size() > 1 ? "," : "") + text_of(value, digits);
  return text + "]";
}

// What the page's script reads.
std::string data_of(const Chart& chart) {
  std::string text = "[";
  for (const auto& series : chart.series) {
    const ChartSeries points = thinned(series);
    text += (text.size() > 1 ? "," : "") + std::string("{\"name\":\"") + series.name + "\",\"colour\":\"" +
            series.colour + "\",\"unit\":\"" + chart.unit + "\",\"x\":" + json_numbers(points.x, 12) +
            ",\"y\":" + json_numbers(points.y, 5) + "}";
  }
  return text + "]";
}

}  // namespace

std::string html_escaped(std::string_view text) {
  std::string out;
  for (const char letter : text) {
    switch (letter) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += letter;
    }
  }
  return out;
}

std::string chart_html(const Chart& chart, const std::string& id) {
  std::string html = "<figure id=" + id + ">";
  if (chart.offers_log) html += "<input type=checkbox id=" + id + "-log>";
  html += "<figcaption><h2>" + html_escaped(chart.title) + "</h2><span class=legend>";
  for (const auto& series : chart.series) {
    if (chart.series.size() > 1)
      html += "<i class=" + series.colour + "></i>" + html_escaped(series.name) + " ";
  }
  html += "</span><output></output>";
  if (chart.offers_log) html += "<label for=" + id + "-log>log</label>";
  html += "</figcaption>" + svg_of(chart, false);
  if (chart.offers_log) html += svg_of(chart, true);
  return html + "<script type=\"application/json\">" + data_of(chart) + "</script></figure>\n";
}

}  // namespace trireme
