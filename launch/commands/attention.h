#pragma once

namespace CLI {
class App;
}

namespace trireme {

class Process;

// trireme attention RUN --text TEXT: what each head looks at, as one HTML page.
void add_attention_command(CLI::App& app, Process& process);

}  // namespace trireme
