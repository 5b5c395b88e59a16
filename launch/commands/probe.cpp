#include "launch/commands/probe.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "data/durable_file.h"
#include "data/user_error.h"
#include "launch/commands/train.h"
#include "parallel/process.h"
#include "trainer/nearest.h"
#include "trainer/probes/probe_results.h"
#include "trainer/probes/probe_run.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

constexpr const char* kResultsFile = "results.jsonl";
constexpr const char* kTableFile = "table.md";

struct Arguments {
  std::string configs;
  std::vector<std::string> overrides;
  std::vector<std::string> tasks{kProbeTasks.begin(), kProbeTasks.end()};
  std::vector<std::string> models;  // none: all that there are
  ProbeData data;                   // of any task
  std::int64_t tests = 1000;
  std::string output = "runs/probes";
};

// The config files of the models that were asked for, by name.
std::vector<fs::path> config_files(const Arguments& arguments) {
  std::vector<fs::path> files;
  if (fs::is_directory(arguments.configs)) {
    for (const auto& entry : fs::directory_iterator(arguments.configs)) {
      if (entry.path().extension() == ".toml") files.push_back(entry.path());
    }
  } else {
    files.emplace_back(arguments.configs);
  }
  if (files.empty()) {
    throw UserError(arguments.configs, "holds no config (*.toml)", "name a folder like configs/probes");
  }
  std::sort(files.begin(), files.end());
  if (arguments.models.empty()) return files;
  std::vector<std::string> names;
  for (const fs::path& file : files) names.push_back(file.stem());
  std::vector<fs::path> chosen;
  for (const std::string& model : arguments.models) {
    const auto found = std::find(names.begin(), names.end(), model);
    if (found == names.end()) {
      const auto near = nearest(model, names);
      throw UserError("--models", arguments.configs + " has no " + model + ".toml",
                      near ? "did you mean " + *near + "?" : "");
    }
    chosen.push_back(files[static_cast<std::size_t>(found - names.begin())]);
  }
  return chosen;
}

std::vector<ProbeCell> make_cells(const Arguments& arguments) {
  const std::vector<fs::path> files = config_files(arguments);
  std::vector<ProbeCell> cells;
  for (const std::string& task : arguments.tasks) {
    ProbeData data = arguments.data;
    data.task =
        static_cast<ProbeTask>(std::find(kProbeTasks.begin(), kProbeTasks.end(), task) - kProbeTasks.begin());
    for (const fs::path& file : files) {
      cells.push_back(make_probe_cell(file, arguments.overrides, data, arguments.tests, arguments.output));
      check_same_config(cells.back());
    }
  }
  return cells;
}

bool is_among(const std::vector<ProbeResult>& results, const ProbeCell& cell) {
  return std::any_of(results.begin(), results.end(), [&](const ProbeResult& result) {
    return result.task == name_of(cell.data.task) && result.model == cell.model;
  });
}

void write_results(const std::vector<ProbeResult>& results, const fs::path& output) {
  std::string lines;
  for (const ProbeResult& result : results) lines += probe_line(result);
  write_durably(output / kResultsFile, lines, IfExists::kReplace);
  write_durably(output / kTableFile, probe_table(results), IfExists::kReplace);
}

int probe(const Arguments& arguments, Process& process) {
  const fs::path output = arguments.output;
  const std::vector<ProbeCell> cells = make_cells(arguments);
  std::vector<ProbeResult> results = read_probe_results(output / kResultsFile);
  process.world().barrier();  // all have read what rank 0 will add to
  const auto say = [&](const std::string& text) {
    if (process.rank() == 0) std::cout << text << std::flush;
  };
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const ProbeCell& cell = cells[i];
    const std::string name = cell.data.name() + ", " + cell.model + " (" + std::to_string(i + 1) + " of " +
                             std::to_string(cells.size()) + ")";
    if (is_among(results, cell)) {
      say(name + ": done before\n");
      continue;
    }
    say(name + "\n");
    const RunEnd end = train_probe(cell, process);
    if (end != RunEnd::kFinished) return end == RunEnd::kRequeue ? kRequeueExitCode : 0;
    results.push_back(score_probe(cell, process));
    if (process.rank() == 0) write_results(results, output);
    say(probe_table({results.back()}) + "\n");
  }
  say("\n" + probe_table(results));
  return 0;
}

void add_options(CLI::App& command, Arguments& arguments) {
  command.add_option("configs", arguments.configs, "A folder with a config file of each model, or one file")
      ->required()
      ->check(CLI::ExistingPath);
  command.add_option("overrides", arguments.overrides, "Keys of all configs set here: train.steps=3000");
  command.add_option("--tasks", arguments.tasks, "Which tasks, with commas between")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember(std::vector<std::string>(kProbeTasks.begin(), kProbeTasks.end())))
      ->capture_default_str();
  command
      .add_option("--models", arguments.models, "Which models of the folder, with commas between; none: all")
      ->delimiter(',')
      ->allow_extra_args(false);
  command.add_option("--length", arguments.data.length, "The longest strings to train on, n")
      ->check(CLI::Range(ProbeData::kLeastLength, ProbeData::kMostLength))
      ->capture_default_str();
  command.add_option("--pairs", arguments.data.training_pairs, "Questions to train on, of lengths 1 to n")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--tests", arguments.tests, "Questions asked of each length: n, 2n and 4n")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--seed", arguments.data.seed, "Of the questions and of the runs")
      ->capture_default_str();
  command.add_option("--output", arguments.output, "Folder of the results, the runs and the data")
      ->capture_default_str();
}

}  // namespace

void add_probe_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand(
      "probe", "Train models on small tasks and ask them at lengths that they haven't seen");
  const auto arguments = std::make_shared<Arguments>();
  add_options(*command, *arguments);
  command->footer(
      "Tasks: copy, reverse and sort letters, addition of two numbers, parity of a string of bits,\n"
      "at its end and step by step.  Models\n"
      "learn strings of lengths 1 to n, then answer new ones of n, 2n and 4n; what counts is the whole "
      "answer.\n"
      "OUTPUT gets results.jsonl, table.md and each run.  Started again, the command passes over what is "
      "done\n"
      "and goes on with a run that was stopped.\n"
      "\n"
      "Examples:\n"
      "  trireme probe configs/probes\n"
      "  trireme probe configs/probes --tasks copy,reverse --models rope,alibi --length 20 train.steps=3000\n"
      "  mpirun -n 2 trireme probe configs/probes");
  command->callback([arguments, &process] {
    if (const int code = probe(*arguments, process); code != 0) throw CLI::RuntimeError(code);
  });
}

}  // namespace trireme
