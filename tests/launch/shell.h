// Runs a command line and tells what came of it.
#pragma once

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include <sys/wait.h>

#include "tests/support/temp_dir.h"

namespace trireme {

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string errors;
};

inline Outcome run_shell(const std::string& command) {
  const TempDir folder;
  const auto read = [](const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  };
  const int status =
      std::system(("( " + command + " ) > " + folder / "out" + " 2> " + folder / "errors").c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read(folder / "out"), read(folder / "errors")};
}

}  // namespace trireme
