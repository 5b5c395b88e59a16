#pragma once

namespace CLI {
class App;
}

namespace trireme {

class Process;

// trireme checkpoint inspect | verify | import | export: what a checkpoint holds, whether all of it is as it
// was written, and Hugging Face's folders in and out.
void add_checkpoint_command(CLI::App& app, Process& process);

}  // namespace trireme
