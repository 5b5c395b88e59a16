#include "launch/commands/report.h"

#include <iostream>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "trainer/report.h"

namespace trireme {

void add_report_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("report", "Write the curves and figures of a run as one HTML page");
  command->footer(
      "The page is RUN/report.html.  It holds all it needs, so it can be sent by mail or opened without a\n"
      "network.  A run that is still going on can be looked at too.\n"
      "\n"
      "Example:\n"
      "  trireme report runs/quickstart");
  auto run = std::make_shared<std::string>();
  command->add_option("RUN", *run, "Folder of the run (run.directory of its config)")->required();
  command->callback([run] { std::cout << write_report(*run) << '\n'; });
}

}  // namespace trireme
