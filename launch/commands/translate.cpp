#include "launch/commands/translate.h"

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "data/user_error.h"
#include "launch/commands/beam_arguments.h"
#include "launch/commands/device_argument.h"
#include "parallel/process.h"
#include "trainer/load_model.h"
#include "trainer/translate.h"

namespace trireme {
namespace {

// Lines that are read before the first is translated: enough that those of like lengths find together.
constexpr std::size_t kLinesAtOnce = 4096;

struct Arguments {
  std::string model;
  BeamArguments beam;
  DeviceArgument device;
};

class LineTranslator {
 public:
  LineTranslator(const Arguments& arguments, TrainedTranslator trained)
      : trained_(std::move(trained)),
        beam_(arguments.beam.options),
        context_(trained_.model->options().context),
        tokens_(arguments.beam.tokens_for(context_)) {
    trained_.model->allocate({.source_tokens = tokens_, .target_tokens = tokens_});
  }

  void translate_all(std::istream& in, std::ostream& out, std::size_t lines_at_once) {
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) {
      lines.push_back(std::move(line));
      if (lines.size() < lines_at_once) continue;
      translate_lines(lines, out);
      lines.clear();
    }
    translate_lines(lines, out);
    if (num_cut_ > 0) {
      std::cerr << "trireme: " << num_cut_ << " lines had more than " << context_ - 1
                << " tokens (model.context): only their beginnings were translated\n";
    }
  }

 private:
  void translate_lines(const std::vector<std::string>& lines, std::ostream& out) {
    Tokenizer& tokenizer = *trained_.tokenizer;
    std::vector<std::vector<std::int32_t>> sources;
    for (const std::string& line : lines) {
      std::vector<std::int32_t>& source = sources.emplace_back();
      if (line.find_first_not_of(" \t\r") != std::string::npos) tokenizer.encode(line, source);
      if (static_cast<std::int64_t>(source.size()) >= context_) {
        source.resize(static_cast<std::size_t>(context_ - 1));
        ++num_cut_;
      }
    }
    const auto translations =
        translate(*trained_.model, sources, tokenizer.end_of_document(), beam_, tokens_);
    for (const Translation& translation : translations) {
      std::string text = tokenizer.decode(translation.tokens);
      std::replace(text.begin(), text.end(), '\n', ' ');  // a line for a line
      out << text << '\n';
    }
    out.flush();
  }

  TrainedTranslator trained_;
  const BeamOptions beam_;
  const std::int64_t context_;
  const std::int64_t tokens_;
  std::int64_t num_cut_ = 0;
};

void translate_input(const Arguments& arguments, Process& process) {
  if (process.num_ranks() > 1) {
    throw UserError("trireme translate", "runs in one process", "start it without mpirun");
  }
  LineTranslator translator(arguments, load_translator(arguments.model, arguments.beam.average,
                                                       process.world(), arguments.device.of_rank(process)));
  translator.translate_all(std::cin, std::cout, ::isatty(STDIN_FILENO) != 0 ? 1 : kLinesAtOnce);
}

}  // namespace

void add_translate_command(CLI::App& app, Process& process) {
  CLI::App* command =
      app.add_subcommand("translate", "Translate the lines of standard input to standard output");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("model", arguments->model, "A run's directory, or one of its checkpoints")->required();
  arguments->beam.add_to(*command);
  arguments->device.add_to(*command);
  command->footer(
      "Line for line, in their order; an empty line stays empty.\n"
      "\n"
      "Example:\n"
      "  trireme translate runs/english_german --average 5 < english.txt > german.txt");
  command->callback([arguments, &process] { translate_input(*arguments, process); });
}

}  // namespace trireme
