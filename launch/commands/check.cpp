#include "launch/commands/check.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "data/json.h"
#include "data/user_error.h"
#include "parallel/process.h"
#include "trainer/config.h"
#include "trainer/layout.h"
#include "trainer/layout_check.h"
#include "trainer/readable.h"

namespace trireme {
namespace {

struct Arguments {
  std::string config;
  std::vector<std::string> overrides;
  std::vector<std::string> layouts;
  LayoutCheckOptions options;
  bool json = false;
};

struct Layout {
  std::string name;  // as the user wrote it
  Config config;
  int ranks = 1;
};

// A word of a command line for a shell.
std::string quoted(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("_-+=,./:@%").find(static_cast<char>(c)) != std::string::npos;
  });
  if (plain) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

// The same command on so many ranks of this machine.
std::string command_on(int ranks, const Arguments& arguments) {
  std::ostringstream command;
  command << "mpirun -np " << ranks << " --oversubscribe --bind-to none";
  if (::geteuid() == 0) command << " --allow-run-as-root";
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe");
  command << ' ' << quoted(std::filesystem::proximate(program)) << " check " << quoted(arguments.config);
  for (const std::string& override_text : arguments.overrides) command << ' ' << quoted(override_text);
  const LayoutCheckOptions defaults;
  if (arguments.options.steps != defaults.steps) command << " --steps " << arguments.options.steps;
  if (arguments.options.tolerance != defaults.tolerance)
    command << " --tolerance " << arguments.options.tolerance;
  if (arguments.options.repeat) command << " --repeat";
  if (arguments.json) command << " --json";
  command << " --layouts";
  for (const std::string& layout : arguments.layouts) command << ' ' << quoted(layout);
  return command.str();
}

// All of them, before the first trains.
std::vector<Layout> make_layouts(const Config& config, const Arguments& arguments, Process& process) {
  std::vector<Layout> layouts;
  int most = 1;
  for (const std::string& name : arguments.layouts) {
    Layout layout{.name = name, .config = in_layout(config, name)};
    layout.ranks = num_ranks(layout.config, process.num_ranks());
    most = std::max(most, layout.ranks);
    layouts.push_back(std::move(layout));
  }
  if (most > process.num_ranks()) {
    const auto first = std::find_if(layouts.begin(), layouts.end(),
                                    [&](const Layout& layout) { return layout.ranks == most; });
    throw UserError("layout \"" + first->name + "\"",
                    "needs " + std::to_string(most) + " ranks, and there " +
                        (process.num_ranks() == 1 ? "is 1" : "are " + std::to_string(process.num_ranks())),
                    "start so many: " + command_on(most, arguments));
  }
  return layouts;
}

std::string readable_difference(double difference) {
  return difference == 0.0 ? "0" : readable_number(difference, 2);
}

std::string readable_traffic(const std::vector<AxisTraffic>& traffic) {
  std::string text;
  for (const AxisTraffic& axis : traffic) {
    text += (text.empty() ? "" : ", ") + axis.axis + " " + readable_bytes(axis.bytes_per_step);
  }
  return text.empty() ? "-" : text;
}

// "blocks.0.mlp.in.weight 0.33, final_norm.bias 0.014".
std::string listed(const std::vector<ParameterDifference>& parameters) {
  std::string text;
  for (const ParameterDifference& parameter : parameters) {
    text += (text.empty() ? "" : ", ") + parameter.name + " " + readable_difference(parameter.largest);
  }
  return text;
}

// What is wrong, for who looks for it.  `first` is the same check of one step alone: there the parameters
// that are wrong have not yet made others so.
std::string described(const LayoutReport& report, const LayoutReport& first, std::int64_t steps) {
  std::ostringstream text;
  const auto say_step = [&](const char* what, const SeriesDifference& series) {
    if (!series.step) return;
    text << "    " << what << " differs from step " << *series.step << " on";
    if (*series.step == 1) text << ", there by " << readable_difference(series.first);
    text << "\n";
  };
  say_step("loss", report.loss);
  say_step("norm of the gradient", report.grad_norm);
  text << "    parameters after step 1: " << listed(first.parameters) << "\n";
  if (steps > 1) text << "    after step " << steps << ": " << listed(report.parameters) << "\n";
  if (const auto& drifted = first.drifted.empty() ? report.drifted : first.drifted; !drifted.empty()) {
    text << "    replicas of " << drifted.size()
         << " parameters are not the same to the bit: " << drifted.front()
         << (drifted.size() > 1 ? ", ..." : "") << "\n";
  }
  return text.str();
}

// One row per layout, each as soon as it is known.
class Table {
 public:
  explicit Table(const std::vector<Layout>& layouts) {
    for (const Layout& layout : layouts) name_width_ = std::max(name_width_, layout.name.size());
    row("layout", "ranks", {"loss", "gradient", "parameters"}, "received per step", "");
  }

  void add(const Layout& layout, const LayoutReport& report) const {
    row(layout.name, std::to_string(layout.ranks),
        {readable_difference(report.loss.largest), readable_difference(report.grad_norm.largest),
         readable_difference(report.parameters.front().largest)},
        readable_traffic(report.traffic),
        std::string(report.passes ? "PASS" : "FAIL") +
            (report.repeats ? (*report.repeats ? ", repeats to the bit" : ", does not repeat") : ""));
  }

 private:
  void row(const std::string& name, const std::string& ranks, const std::vector<std::string>& differences,
           const std::string& traffic, const std::string& verdict) const {
    std::cout << std::left << std::setw(static_cast<int>(name_width_)) << name << std::right << std::setw(7)
              << ranks;
    for (const std::string& difference : differences) std::cout << std::setw(12) << difference;
    std::cout << "  " << std::left;
    if (!verdict.empty()) std::cout << std::setw(kTrafficWidth);
    std::cout << traffic << (verdict.empty() ? "" : "  ") << verdict << std::endl;
  }

  static constexpr int kTrafficWidth = 36;
  std::size_t name_width_ = std::string_view("layout").size();
};

Json to_json(const SeriesDifference& series) {
  return {{"first", series.first},
          {"largest", series.largest},
          {"step", series.step ? Json(*series.step) : Json()}};
}

Json to_json(const std::vector<ParameterDifference>& parameters) {
  Json json = Json::array();
  for (const ParameterDifference& parameter : parameters) {
    json.push_back({{"name", parameter.name}, {"largest", parameter.largest}});
  }
  return json;
}

Json to_json(const Layout& layout, const LayoutReport& report) {
  Json json = {{"layout", layout.name},
               {"ranks", layout.ranks},
               {"passes", report.passes},
               {"loss", to_json(report.loss)},
               {"grad_norm", to_json(report.grad_norm)},
               {"parameters", to_json(report.parameters)},
               {"drifted", report.drifted},
               {"traffic", Json::object()}};
  for (const AxisTraffic& axis : report.traffic) {
    json["traffic"][axis.axis] = {
        {"bytes_per_step", axis.bytes_per_step}, {"busy_s", axis.busy_s}, {"hidden", axis.hidden}};
  }
  if (report.repeats) json["repeats"] = *report.repeats;
  return json;
}

// Of the layout's first step alone.
LayoutReport compare_first_step(const Config& config, const Layout& layout, const Arguments& arguments,
                                Process& process) {
  LayoutCheckOptions options = arguments.options;
  options.steps = 1;
  options.repeat = false;
  return LayoutCheck(config, options, process).compare(layout.config);
}

LayoutReport compare(LayoutCheck& check, const Layout& layout) {
  try {
    return check.compare(layout.config);
  } catch (const UserError& error) {
    throw UserError("layout \"" + layout.name + "\"", error.what(), "");
  }
}

// The exit code.
int check(const Arguments& arguments, Process& process) {
  std::vector<std::string> overrides = arguments.overrides;
  overrides.insert(overrides.begin(), "run.directory=-");  // required elsewhere, and not used here
  const Config config = load_config(arguments.config, overrides);
  const std::vector<Layout> layouts = make_layouts(config, arguments, process);
  const bool speaks = process.rank() == 0;

  LayoutCheck check(config, arguments.options, process);
  if (speaks && !arguments.json) {
    std::cout << arguments.config << ": " << arguments.options.steps
              << " steps; on one rank the loss goes from " << readable_number(check.first_loss(), 5) << " to "
              << readable_number(check.last_loss(), 5) << "\nlargest relative differences from it, of which "
              << arguments.options.tolerance << " is tolerated:\n\n";
  }
  std::optional<Table> table;
  if (speaks && !arguments.json) table.emplace(layouts);
  bool all_pass = true;
  Json results = Json::array();
  for (const Layout& layout : layouts) {
    const LayoutReport report = compare(check, layout);
    if (table) table->add(layout, report);
    if (speaks) results.push_back(to_json(layout, report));
    if (report.passes) continue;
    all_pass = false;
    const LayoutReport first = compare_first_step(config, layout, arguments, process);
    if (table) std::cout << described(report, first, arguments.options.steps) << std::flush;
    if (speaks) results.back()["parameters_after_first_step"] = to_json(first.parameters);
  }
  if (speaks && arguments.json) std::cout << results.dump() << "\n";
  return all_pass ? 0 : 1;
}

}  // namespace

void add_check_command(CLI::App& app, Process& process) {
  CLI::App* command =
      app.add_subcommand("check", "Whether layouts of ranks train the same model as one rank");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("config", arguments->config, "The run's TOML file")->required();
  command->add_option("overrides", arguments->overrides, "Keys of the config set here: model.layers=4");
  command
      ->add_option("--layouts", arguments->layouts,
                   "What to check, each a list of what differs from one rank: \"pp=2,dp=2,zero=1\"")
      ->required();
  command->add_option("--steps", arguments->options.steps, "Optimizer steps of each")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--tolerance", arguments->options.tolerance, "Largest relative difference that passes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--repeat", arguments->options.repeat,
                    "Train each layout twice, which must give the same bits");
  command->add_flag("--json", arguments->json,
                    "An array of one JSON object for each layout, instead of a table");
  command->footer(
      "Trains the first steps of the run on one rank, then in each layout, from the same first values,\n"
      "and compares loss, norm of the gradient and parameters.  Nothing is written, and run.directory isn't\n"
      "needed.  A layout runs on the first ranks of the job, so start as many as the largest needs.\n"
      "\n"
      "Layouts: pp, dp, tp (ranks along an axis), zero, microbatch, any key of [parallel] or [train], and\n"
      "others with their section.  What a layout doesn't name of [parallel] is as on one rank, whatever\n"
      "CONFIG says.\n"
      "\n"
      "A parameter's difference is the largest of any element, relative to the root mean square of the\n"
      "parameter.  The first step's loss is held to a hundredth of the tolerance.  AdamW's epsilon is at\n"
      "least 1e-5 here, or gradients that are nothing but rounding would become steps; the warm-up is no\n"
      "longer than the check; train.init_from is not read.  What is received is a mean over the ranks.\n"
      "\n"
      "Exit code: 0 if all pass, 1 if one does not, 2 for a mistake of yours.\n"
      "\n"
      "Example:\n"
      "  mpirun -np 4 trireme check configs/gpt2_124m.toml data.path=data/books model.layers=2 \\\n"
      "      --layouts dp=4 tp=2 \"pp=2,dp=2\" \"dp=4,zero=3\"");
  command->callback([arguments, &process] {
    if (const int code = check(*arguments, process); code != 0) throw CLI::RuntimeError(code);
  });
}

}  // namespace trireme
