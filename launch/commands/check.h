#pragma once

namespace CLI {
class App;
}

namespace trireme {

class Process;

// trireme check CONFIG --layouts ...: whether layouts of ranks train the same model as one rank.
void add_check_command(CLI::App& app, Process& process);

}  // namespace trireme
