#include "launch/commands/train.h"

#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "parallel/process.h"
#include "trainer/config.h"
#include "trainer/trainer.h"

namespace trireme {
namespace {

struct Arguments {
  std::string config;
  std::vector<std::string> overrides;
};

int train(const Arguments& arguments, Process& process) {
  Trainer trainer(load_config(arguments.config, arguments.overrides), process);
  return trainer.run() == RunEnd::kRequeue ? kRequeueExitCode : 0;
}

}  // namespace

void add_train_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("train", "Train a model, or go on training it");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("config", arguments->config, "The run's TOML file")->required();
  command->add_option("overrides", arguments->overrides,
                      "Keys of the config set here: optim.learning_rate=3e-4");
  command->footer(
      "Alone it trains in this process; under mpirun or srun the ranks train together, each on its part of "
      "the\n"
      "global batch.  A run that was stopped goes on from its newest checkpoint when it is started again.\n"
      "SIGINT (once), SIGTERM and SIGUSR1 save at the next step and end the run: with exit code 0 after "
      "SIGINT,\n"
      "85, \"start me again\", after the others.\n"
      "\n"
      "Examples:\n"
      "  trireme train configs/tiny.toml data.path=data/books run.directory=runs/books\n"
      "  launch/mpirun.sh 4 configs/gpt2_124m.toml data.path=data/books run.directory=runs/gpt2\n"
      "  launch/mpirun.sh 4 configs/gpt2_124m.toml data.path=data/books run.directory=runs/gpt2 device=cuda\n"
      "\n"
      "A key may come without its section where no other has one of that name, as device=cuda does.\n"
      "\n" +
      config_help());
  command->callback([arguments, &process] {
    if (const int code = train(*arguments, process); code != 0) throw CLI::RuntimeError(code);
  });
}

}  // namespace trireme
