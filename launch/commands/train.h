#pragma once

namespace CLI {
class App;
}

namespace trireme {

class Process;

// trireme train CONFIG [key=value ...]: trains, or goes on training.
void add_train_command(CLI::App& app, Process& process);

}  // namespace trireme
