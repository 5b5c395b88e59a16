// A run as a page to look at.
#pragma once

#include <filesystem>
#include <string>

namespace trireme {

// Writes RUN/report.html from RUN/metrics.jsonl and RUN/config.toml, replacing an earlier one, and returns
// its path.  The page needs nothing else: no network, no other file.  Throws UserError if the run has logged
// nothing.
std::string write_report(const std::filesystem::path& run_directory);

}  // namespace trireme
