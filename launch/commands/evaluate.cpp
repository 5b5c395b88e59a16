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
#include "data/pair_dataset.h"
#include "data/token_dataset.h"
#include "data/user_error.h"
#include "launch/commands/beam_arguments.h"
#include "launch/commands/device_argument.h"
#include "parallel/process.h"
#include "trainer/batch_tensors.h"
#include "trainer/config.h"
#include "trainer/evaluate.h"
#include "trainer/evaluate_masked.h"
#include "trainer/evaluate_pairs.h"
#include "trainer/load_model.h"
#include "trainer/trainer.h"
#include "trainer/translate.h"

namespace trireme {
namespace {

struct Arguments {
  std::string model;
  std::string data;
  std::string split = kValidationSplit;
  std::int64_t sequences = 0;
  std::int64_t microbatch = 8;
  std::string documents;          // empty: as the run was trained
  double mask_probability = 0.0;  // of an encoder; 0: as in its training
  BeamArguments beam;             // of pairs
  DeviceArgument device;
  bool json = false;
};

std::filesystem::path config_of_run(const std::filesystem::path& checkpoint) {
  return std::filesystem::absolute(checkpoint).parent_path().parent_path() / kConfigFile;
}

// The data that the run was trained on.
std::string data_of_run(const std::filesystem::path& checkpoint) {
  return load_config(config_of_run(checkpoint), {}).data.path;
}

// Joined, too, if nothing is known of the run.
Documents documents_for(const Arguments& arguments, const std::filesystem::path& checkpoint) {
  DataConfig data;
  if (!arguments.documents.empty()) {
    data.documents = arguments.documents;
  } else if (const auto config = config_of_run(checkpoint); std::filesystem::exists(config)) {
    data = load_config(config, {}).data;
  }
  return documents_of(data);
}

// The split to evaluate on; `trained` is the model that must have the same tokenizer.
template <typename Dataset, typename Model>
Dataset open_data(const Arguments& arguments, const Trained<Model>& trained) {
  Dataset data(arguments.data.empty() ? data_of_run(trained.checkpoint) : arguments.data, arguments.split);
  if (data.tokenizer() != trained.tokenizer->identity()) {
    throw UserError(data.folder(), "was made with another tokenizer than the model's",
                    "prepare the text with --tokenizer and the tokenizer.json of the run");
  }
  return data;
}

std::int64_t samples(const Arguments& arguments) {
  return arguments.sequences > 0 ? arguments.sequences : std::numeric_limits<std::int64_t>::max();
}

void evaluate_translator(const Arguments& arguments, Process& process) {
  TrainedTranslator trained = load_translator(arguments.model, arguments.beam.average, process.world(),
                                              arguments.device.of_rank(process));
  auto data = open_data<PairDataset>(arguments, trained);
  check_pairs(data, trained.model->options().context);
  const std::int64_t tokens = arguments.beam.tokens_for(trained.model->options().context);
  trained.model->allocate({.source_tokens = tokens, .target_tokens = tokens});
  const double loss = evaluate_pairs(*trained.model, data, samples(arguments), tokens, process.world());
  const TranslationScores scores =
      score_translations(*trained.model, data, *trained.tokenizer, samples(arguments), arguments.beam.options,
                         tokens, process.world());
  if (process.rank() != 0) return;

  const Bleu found = bleu(scores.bleu);
  if (arguments.json) {
    const Json result = {{"checkpoint", trained.checkpoint.string()},
                         {"split", arguments.split},
                         {"loss", loss},
                         {"perplexity", std::exp(loss)},
                         {"bleu", found.score},
                         {"chrf", chrf(scores.chrf)},
                         {"brevity_penalty", found.brevity_penalty},
                         {"unigram_entropy", data.facts().unigram_entropy}};
    std::cout << result.dump() << "\n";
    return;
  }
  std::cout << std::fixed << std::setprecision(4) << trained.checkpoint.string() << ", " << arguments.split
            << " split:\n"
            << "  loss             " << loss << " nats per token\n"
            << "  perplexity       " << std::exp(loss) << "\n"
            << "  unigram entropy  " << data.facts().unigram_entropy
            << " nats per token: the loss of knowing only how frequent each token is\n"
            << std::setprecision(2) << "  BLEU             " << found.score << "\n"
            << "  chrF             " << chrf(scores.chrf) << "\n";
}

void evaluate_language_model(const Arguments& arguments, Process& process) {
  TrainedModel trained = load_model(arguments.model, process.world(), arguments.device.of_rank(process));
  auto data = open_data<TokenDataset>(arguments, trained);
  const std::int64_t context = trained.model->options().context;
  check_length(data, context);
  trained.model->allocate({.batch = arguments.microbatch, .sequence = context});
  const double loss = evaluate_loss(*trained.model, data, documents_for(arguments, trained.checkpoint),
                                    samples(arguments), arguments.microbatch, process.world());
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

void evaluate_masked_model(const Arguments& arguments, Process& process) {
  TrainedMaskedModel trained =
      load_masked_model(arguments.model, process.world(), arguments.device.of_rank(process));
  auto data = open_data<TokenDataset>(arguments, trained);
  const std::int64_t context = trained.model->options().context;
  check_length(data, context);
  const double probability = arguments.mask_probability > 0.0
                                 ? arguments.mask_probability
                                 : load_config(config_of_run(trained.checkpoint), {}).train.mask_probability;
  trained.model->allocate({.batch = arguments.microbatch, .sequence = context},
                          arguments.microbatch * num_masked(context, probability));
  const MaskedScore score =
      evaluate_masked(*trained.model, data, validation_masking(*trained.tokenizer, probability),
                      documents_for(arguments, trained.checkpoint), samples(arguments), arguments.microbatch,
                      process.world());
  if (process.rank() != 0) return;

  if (arguments.json) {
    const Json result = {{"checkpoint", trained.checkpoint.string()},
                         {"split", arguments.split},
                         {"loss", score.loss},
                         {"perplexity", std::exp(score.loss)},
                         {"accuracy", score.accuracy},
                         {"mask_probability", probability},
                         {"unigram_entropy", data.facts().unigram_entropy}};
    std::cout << result.dump() << "\n";
    return;
  }
  std::cout << std::fixed << std::setprecision(4) << trained.checkpoint.string() << ", " << arguments.split
            << " split:\n"
            << "  loss             " << score.loss << " nats per masked token\n"
            << "  perplexity       " << std::exp(score.loss) << "\n"
            << "  accuracy         " << score.accuracy << ": the share of masked tokens guessed right\n"
            << "  unigram entropy  " << data.facts().unigram_entropy
            << " nats per token: the loss of knowing only how frequent each token is\n";
}

void evaluate(const Arguments& arguments, Process& process) {
  switch (kind_of_model(arguments.model)) {
    case ModelKind::kDecoder:
      return evaluate_language_model(arguments, process);
    case ModelKind::kEncoderDecoder:
      return evaluate_translator(arguments, process);
    case ModelKind::kEncoder:
      return evaluate_masked_model(arguments, process);
  }
}

}  // namespace

void add_evaluate_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("evaluate",
                                         "Loss and perplexity of a trained model on held-out data; of "
                                         "translations also BLEU and chrF, of masked "
                                         "tokens also accuracy");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("model", arguments->model, "A run's directory, or one of its checkpoints")->required();
  command->add_option("--data", arguments->data, "A folder of `trireme prepare`; none: the run's own");
  command->add_option("--split", arguments->split, "train or validation")
      ->check(CLI::IsMember({kTrainSplit, kValidationSplit}))
      ->capture_default_str();
  command
      ->add_option("--sequences", arguments->sequences,
                   "Only so many, or so many pairs, from the beginning; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--microbatch", arguments->microbatch, "Sequences of text that a rank computes at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--documents", arguments->documents,
                   "Whether sequences of text are one (joined) or documents are apart (separate); none: as "
                   "the run was trained")
      ->check(CLI::IsMember({"joined", "separate"}));
  command
      ->add_option("--mask-probability", arguments->mask_probability,
                   "Share of tokens that an encoder fills in; 0: as in its training")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  arguments->beam.add_to(*command);
  arguments->device.add_to(*command);
  command->add_flag("--json", arguments->json, "One JSON object instead of text");
  command->footer(
      "--beam to --batch-tokens are of models that translate.\n"
      "\n"
      "Example:\n"
      "  trireme evaluate runs/books --split validation");
  command->callback([arguments, &process] { evaluate(*arguments, process); });
}

}  // namespace trireme
