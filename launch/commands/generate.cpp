#include "launch/commands/generate.h"

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "data/user_error.h"
#include "launch/commands/device_argument.h"
#include "parallel/process.h"
#include "trainer/generate.h"
#include "trainer/load_model.h"

namespace trireme {
namespace {

struct Arguments {
  std::string model;
  std::string prompt;
  std::int64_t tokens = 200;
  SamplingOptions sampling;
  DeviceArgument device;
};

void generate_text(const Arguments& arguments, Process& process) {
  if (process.num_ranks() > 1) {
    throw UserError("trireme generate", "runs in one process", "start it without mpirun");
  }
  TrainedModel trained = load_model(arguments.model, process.world(), arguments.device.of_rank(process));
  trained.model->allocate({.batch = 1, .sequence = trained.model->options().context});
  // A document begins after the end of another: with no prompt, so does the text.
  std::vector<std::int32_t> prompt = {trained.tokenizer->end_of_document()};
  trained.tokenizer->encode(arguments.prompt, prompt);
  std::cout << arguments.prompt;
  SamplingOptions sampling = arguments.sampling;
  sampling.vocabulary =
      std::min<std::int64_t>(trained.tokenizer->vocab_size(), trained.model->options().vocabulary);
  generate(*trained.model, prompt, arguments.tokens, sampling, [&](std::int32_t token) {
    if (token == trained.tokenizer->end_of_document()) return false;
    std::cout << trained.tokenizer->bytes_of(token) << std::flush;
    return true;
  });
  std::cout << '\n';
}

}  // namespace

void add_generate_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("generate", "Continue a text with a trained model");
  const auto arguments = std::make_shared<Arguments>();
  SamplingOptions& sampling = arguments->sampling;
  command->add_option("model", arguments->model, "A run's directory, or one of its checkpoints")->required();
  command->add_option("--prompt", arguments->prompt, "The text to continue; none: a new document");
  command->add_option("--tokens", arguments->tokens, "At most so many; it ends where the document ends")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--temperature", sampling.temperature,
                   "Below 1 surer, above 1 wilder; 0: the likeliest token")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--top-k", sampling.top_k, "Draw from the k likeliest tokens only; 0: from all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--top-p", sampling.top_p,
                   "Draw from the fewest tokens whose probabilities reach p together")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--seed", sampling.seed, "Equal seeds give equal texts")->capture_default_str();
  arguments->device.add_to(*command);
  command->footer(
      "Example:\n"
      "  trireme generate runs/books --prompt \"Once upon a time\" --temperature 0.8 --top-k 40");
  command->callback([arguments, &process] { generate_text(*arguments, process); });
}

}  // namespace trireme
