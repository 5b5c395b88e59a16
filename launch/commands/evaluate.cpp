#include "launch/commands/evaluate.h"

#include <cmath>
#include <iomanip>
#include <iostream>
#include <limits>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "data/json.h"
#include "data/loader.h"
#include "data/token_dataset.h"
#include "data/user_error.h"
#include "parallel/process.h"
#include "trainer/config.h"
#include "trainer/evaluate.h"
#include "trainer/load_model.h"
#include "trainer/trainer.h"

namespace trireme {
namespace {

struct Arguments {
  std::string model;
  std::string data;
  std::string split = kValidationSplit;
  std::int64_t sequences = 0;
  std::int64_t microbatch = 8;
  bool json = false;
};

// The data that the run was trained on.
std::string data_of_run(const std::filesystem::path& checkpoint) {
  const auto run = std::filesystem::absolute(checkpoint).parent_path().parent_path();
  return load_config(run / kConfigFile, {}).data.path;
}

void evaluate(const Arguments& arguments, Process& process) {
  TrainedModel trained = load_model(arguments.model, process.world());
  TokenDataset data(arguments.data.empty() ? data_of_run(trained.checkpoint) : arguments.data,
                    arguments.split);
  if (data.tokenizer() != trained.tokenizer->identity()) {
    throw UserError(data.folder(), "was made with another tokenizer than the model's",
                    "prepare the text with --tokenizer and the tokenizer.json of the run");
  }
  const std::int64_t context = trained.model->options().context;
  check_length(data, context);
  trained.model->allocate({.batch = arguments.microbatch, .sequence = context});
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  const double loss =
      evaluate_loss(*trained.model, data, arguments.sequences > 0 ? arguments.sequences : most,
                    arguments.microbatch, process.world());
  if (process.rank() != 0) return;

  const double bits_per_byte = loss / std::log(2.0) / data.facts().bytes_per_token();
  if (arguments.json) {
    const Json result = {{"checkpoint", trained.checkpoint.string()},
                         {"split", arguments.split},
                         {"loss", loss},
                         {"perplexity", std::exp(loss)},
                         {"bits_per_byte", bits_per_byte},
                         {"unigram_entropy", data.facts().unigram_entropy}};
    std::cout << result.dump() << "\n";
    return;
  }
  std::cout << std::fixed << std::setprecision(4) << trained.checkpoint.string() << ", " << arguments.split
            << " split:\n"
            << "  loss             " << loss << " nats per token\n"
            << "  perplexity       " << std::exp(loss) << "\n"
            << "  bits per byte    " << bits_per_byte << "\n"
            << "  unigram entropy  " << data.facts().unigram_entropy
            << " nats per token: the loss of knowing only how frequent each token is\n";
}

}  // namespace

void add_evaluate_command(CLI::App& app, Process& process) {
  CLI::App* command =
      app.add_subcommand("evaluate", "Loss and perplexity of a trained model on held-out text");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("model", arguments->model, "A run's directory, or one of its checkpoints")->required();
  command->add_option("--data", arguments->data, "A folder of `trireme prepare`; none: the run's own");
  command->add_option("--split", arguments->split, "train or validation")
      ->check(CLI::IsMember({kTrainSplit, kValidationSplit}))
      ->capture_default_str();
  command->add_option("--sequences", arguments->sequences, "Only so many, from the beginning; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--microbatch", arguments->microbatch, "Sequences that a rank computes at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "One JSON object instead of text");
  command->footer("Example:\n  trireme evaluate runs/books --split validation");
  command->callback([arguments, &process] { evaluate(*arguments, process); });
}

}  // namespace trireme
