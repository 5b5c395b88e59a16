#pragma once

namespace CLI {
class App;
}

namespace trireme {

class Process;

// trireme evaluate RUN: loss and perplexity on held-out text; of pairs also BLEU and chrF, of
// masked tokens accuracy.
void add_evaluate_command(CLI::App& app, Process& process);

}  // namespace trireme
