#pragma once

namespace CLI {
class App;
}

namespace trireme {

// trireme data inspect | verify: what a prepared folder holds, and whether all of it is as it was written.
void add_data_command(CLI::App& app);

}  // namespace trireme
