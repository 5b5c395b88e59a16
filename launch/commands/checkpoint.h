#pragma once

namespace CLI {
class App;
}

namespace trireme {

class Process;

// trireme checkpoint inspect | verify: what a checkpoint holds, and whether all of it is as it was written.
void add_checkpoint_command(CLI::App& app, Process& process);

}  // namespace trireme
