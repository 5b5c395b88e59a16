// trireme COMMAND ...: see `trireme --help`.
#include <chrono>
#include <exception>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <glog/logging.h>

#include "data/user_error.h"
#include "launch/commands/attention.h"
#include "launch/commands/check.h"
#include "launch/commands/checkpoint.h"
#include "launch/commands/data.h"
#include "launch/commands/evaluate.h"
#include "launch/commands/fill.h"
#include "launch/commands/generate.h"
#include "launch/commands/prepare.h"
#include "launch/commands/probe.h"
#include "launch/commands/report.h"
#include "launch/commands/train.h"
#include "launch/commands/translate.h"
#include "parallel/process.h"
#include "trainer/config.h"
#include "trainer/nearest.h"

namespace trireme {
namespace {

constexpr int kInternalError = 1;
constexpr int kUserError = 2;

void start_logging(const char* program, int rank) {
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = rank == 0 ? google::GLOG_INFO : google::GLOG_WARNING;
  google::InitGoogleLogging(program);
}

void add_commands(CLI::App& app, Process& process) {
  add_prepare_command(app);
  add_train_command(app, process);
  add_evaluate_command(app, process);
  add_generate_command(app, process);
  add_translate_command(app, process);
  add_attention_command(app, process);
  add_fill_command(app, process);
  add_report_command(app);
  add_probe_command(app, process);
  add_check_command(app, process);
  add_checkpoint_command(app, process);
  add_data_command(app);
}

void describe(CLI::App& app) {
  app.name("trireme");
  app.require_subcommand(1);
  app.set_version_flag("--version", "trireme " TRIREME_VERSION);
  app.add_flag_callback(
      "--config-reference",
      [] {
        std::cout << reference_toml();
        throw CLI::Success();
      },
      "Print every key of a config, with its default and what it does");
  app.footer(
      "Examples:\n"
      "  trireme prepare books/ --output data/books         text to shards of tokens\n"
      "  trireme train configs/tiny.toml data.path=data/books run.directory=runs/books\n"
      "  launch/mpirun.sh 4 configs/tiny.toml ...           the same on 4 ranks\n"
      "  launch/mpirun.sh 4 check configs/tiny.toml ...     do layouts of ranks train the same model?\n"
      "  trireme generate runs/books --prompt \"Once\"        what it has learned\n"
      "  trireme report runs/books                          the curves, as a web page\n"
      "  trireme attention runs/books --text \"Once\"        what each head looks at, as a web page\n"
      "\n"
      "`trireme COMMAND --help` says what a command takes.  Mistakes of yours end with one line and exit "
      "code 2.");
}

// The first word that is no option names the command.
void check_command_name(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->check_name(argv[1])) return;
    names.push_back(command->get_name());
  }
  const auto near = nearest(argv[1], names);
  throw UserError(argv[1], "no such command", near ? "did you mean " + *near + "?" : "see trireme --help");
}

// One line about arguments that could not be understood.
UserError described(const CLI::App& app, const CLI::ParseError& error) {
  const auto parsed = app.get_subcommands();
  const CLI::App& command = parsed.empty() ? app : *parsed.front();
  const std::string name = parsed.empty() ? "trireme" : "trireme " + command.get_name();
  const auto unknown = command.remaining();
  if (!unknown.empty()) {
    std::vector<std::string> options;
    for (const CLI::Option* option : command.get_options()) {
      for (const auto& option_name : option->get_lnames()) options.push_back("--" + option_name);
    }
    const auto near = nearest(unknown.front(), options);
    return {name, "unexpected argument " + unknown.front(),
            near ? "did you mean " + *near + "?" : "see " + name + " --help"};
  }
  return {name, error.what(), "see " + name + " --help"};
}

int run(int argc, char** argv, Process& process) {
  CLI::App app{"Trains Transformers on many GPUs, or on CPUs, under MPI."};
  describe(app);
  add_commands(app, process);
  if (argc == 1) {
    if (process.rank() == 0) std::cout << app.help();
    return 0;
  }
  check_command_name(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // --help, --version
    return process.rank() == 0 ? app.exit(asked) : 0;
  } catch (const CLI::RuntimeError& leaving) {  // a command with an exit code of its own
    return leaving.get_exit_code();
  } catch (const CLI::ParseError& error) {
    throw described(app, error);
  }
  return 0;
}

// Ends the whole job.  A mistake that all ranks find is told once, by rank 0, whose end is theirs; a rank
// that is still there after a while has failed alone, and speaks for itself.
int fail(Process& process, int exit_code, const std::string& what) {
  if (process.num_ranks() == 1) {
    std::cerr << "trireme: " + what + "\n";
    return exit_code;
  }
  if (process.rank() == 0) {
    std::cerr << "trireme: " + what + "\n";
  } else {
    std::this_thread::sleep_for(std::chrono::seconds(2));
    std::cerr << "trireme: rank " + std::to_string(process.rank()) + ": " + what + "\n";
  }
  process.abort(exit_code);
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  trireme::Process process(&argc, &argv);
  trireme::start_logging(argv[0], process.rank());
  try {
    return trireme::run(argc, argv, process);
  } catch (const trireme::UserError& error) {
    return trireme::fail(process, trireme::kUserError, error.what());
  } catch (const std::exception& error) {
    return trireme::fail(process, trireme::kInternalError, std::string("internal error: ") + error.what());
  }
}
