// The option of commands that use a trained model.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "trainer/device_of_rank.h"

namespace trireme {

struct DeviceArgument {
  std::string type = "cpu";

  void add_to(CLI::App& command) {
    command.add_option("--device", type, "Where the model computes: cpu or cuda")
        ->check(CLI::IsMember({"cpu", "cuda"}))
        ->capture_default_str();
  }
  Device of_rank(const Process& process) const { return device_of_rank(type, process); }
};

}  // namespace trireme
