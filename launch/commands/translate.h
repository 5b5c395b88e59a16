#pragma once

namespace CLI {
class App;
}

namespace trireme {

class Process;

// trireme translate RUN: lines of standard input, translated, to standard output.
void add_translate_command(CLI::App& app, Process& process);

}  // namespace trireme
