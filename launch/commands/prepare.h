// trireme prepare: text in, data set out.
#pragma once

namespace CLI {
class App;
}

namespace trireme {

// Adds the command, its options and what it does; a user's mistake leaves the parsing as a UserError.
void add_prepare_command(CLI::App& app);

}  // namespace trireme
