#pragma once

namespace CLI {
class App;
}

namespace trireme {

class Process;

// trireme fill RUN --text "The [MASK] sat": the likeliest tokens for each [MASK].
void add_fill_command(CLI::App& app, Process& process);

}  // namespace trireme
