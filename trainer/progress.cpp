#include "trainer/progress.h"

#include <cstdlib>
#include <ostream>

#include <sys/ioctl.h>
#include <unistd.h>

#include "trainer/readable.h"

namespace trireme {
namespace {

constexpr const char* kRewrite = "\r\x1b[K";  // to the start of the line, and clear it

std::string described(const StepMetrics& metrics) {
  std::string step = std::to_string(metrics.step);
  const std::string steps = std::to_string(metrics.steps);
  if (step.size() < steps.size()) step.insert(0, steps.size() - step.size(), ' ');
  std::string text =
      "step " + step + "/" + steps + "  loss " + readable_number(metrics.loss, 5) + "  lr " +
      readable_number(metrics.learning_rate, 3) + "  grad " + readable_number(metrics.grad_norm, 3) + "  " +
      readable_count(metrics.tokens_per_second) + " tok/s  " + readable_share(metrics.share_of_peak) +
      " of peak  " + readable_duration(metrics.remaining_s) + " left";
  for (const AxisTraffic& axis : metrics.traffic) {
    text += "  " + axis.axis + " " + readable_bytes(axis.bytes_per_step) + "/step, " +
            readable_share(axis.hidden) + " hidden";
  }
  if (metrics.bubble) {
    text += "  bubble " + readable_share(metrics.bubble->measured) + " (forecast " +
            readable_share(metrics.bubble->forecast) + ")";
  }
  if (metrics.data_wait >= 0.05) text += "  " + readable_share(metrics.data_wait) + " waiting for data";
  if (metrics.skipped_steps > 0) text += "  " + std::to_string(metrics.skipped_steps) + " skipped";
  return text;
}

}  // namespace

int terminal_columns() {
  if (const char* told = std::getenv("TRIREME_TERMINAL")) return std::atoi(told);
  // A pseudo-terminal without a size is a launcher's pipe, not a screen.
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

Progress::~Progress() {
  if (!line_.empty()) out_ << '\n' << std::flush;
}

void Progress::step(const StepMetrics& metrics) {
  const std::string text = described(metrics);
  if (columns_ <= 0) {
    out_ << text << '\n' << std::flush;
    return;
  }
  // A line that wraps could not be rewritten.
  line_ = text.substr(0, static_cast<std::size_t>(columns_ - 1));
  out_ << kRewrite << line_ << std::flush;
}

void Progress::note(const std::string& text) {
  if (columns_ <= 0) {
    out_ << text << '\n' << std::flush;
  } else {
    out_ << kRewrite << text << '\n' << line_ << std::flush;
  }
}

}  // namespace trireme
