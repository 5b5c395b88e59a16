#pragma once

namespace CLI {
class App;
}

namespace trireme {

class Process;

// trireme generate RUN --prompt TEXT: continues a text.
void add_generate_command(CLI::App& app, Process& process);

}  // namespace trireme
