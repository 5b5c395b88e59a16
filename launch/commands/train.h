#pragma once

namespace CLI {
class App;
}

namespace trireme {

class Process;

// What a batch script takes for "start me again": Slurm's RequeueExit, launch/slurm.sbatch.
inline constexpr int kRequeueExitCode = 85;

// trireme train CONFIG [key=value ...]: trains, or goes on training.
void add_train_command(CLI::App& app, Process& process);

}  // namespace trireme
