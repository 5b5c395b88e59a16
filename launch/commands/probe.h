#pragma once

namespace CLI {
class App;
}

namespace trireme {

class Process;

void add_probe_command(CLI::App& app, Process& process);

}  // namespace trireme
