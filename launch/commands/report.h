#pragma once

namespace CLI {
class App;
}

namespace trireme {

// trireme report RUN: the curves and figures of a run as one HTML page.
void add_report_command(CLI::App& app);

}  // namespace trireme
