#include "launch/commands/fill.h"

#include <iomanip>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include "data/json.h"
#include "data/masking.h"
#include "data/user_error.h"
#include "launch/commands/device_argument.h"
#include "parallel/process.h"
#include "trainer/fill_masks.h"
#include "trainer/load_model.h"

namespace trireme {
namespace {

struct Arguments {
  std::string model;
  std::string text;
  std::int64_t top_k = 5;
  DeviceArgument device;
  bool json = false;
};

// What a token stands for, for people.
std::string shown(std::int32_t token, const Tokenizer& tokenizer) {
  if (token == mask_token_of(tokenizer)) return std::string(kMaskInText);
  if (token == tokenizer.end_of_document()) return "(end of the document)";
  if (token >= tokenizer.vocab_size()) return "(no token)";
  return Json(tokenizer.bytes_of(token)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

void print_json(const std::vector<std::vector<Guess>>& guesses, const Tokenizer& tokenizer) {
  Json masks = Json::array();
  for (const auto& of_mask : guesses) {
    Json list = Json::array();
    for (const Guess& guess : of_mask) {
      const bool has_text = guess.token < tokenizer.vocab_size();
      list.push_back({{"token", guess.token},
                      {"text", has_text ? tokenizer.bytes_of(guess.token) : std::string_view()},
                      {"probability", guess.probability}});
    }
    masks.push_back(std::move(list));
  }
  std::cout << masks.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
}

void print(const std::vector<std::vector<Guess>>& guesses, const Tokenizer& tokenizer) {
  for (std::size_t i = 0; i < guesses.size(); ++i) {
    std::cout << kMaskInText << " " << i + 1 << "\n" << std::fixed << std::setprecision(4);
    for (const Guess& guess : guesses[i])
      std::cout << "  " << guess.probability << "  " << shown(guess.token, tokenizer) << "\n";
  }
}

void fill(const Arguments& arguments, Process& process) {
  if (process.num_ranks() > 1) {
    throw UserError("trireme fill", "runs in one process", "start it without mpirun");
  }
  TrainedMaskedModel trained =
      load_masked_model(arguments.model, process.world(), arguments.device.of_rank(process));
  const MaskedText text = masked_text(arguments.text, *trained.tokenizer);
  if (text.places.empty()) {
    throw UserError("--text", "has no " + std::string(kMaskInText), "put one where a word is to be guessed");
  }
  const auto length = static_cast<std::int64_t>(text.tokens.size());
  if (const std::int64_t context = trained.model->options().context; length > context) {
    throw UserError("--text",
                    "has " + std::to_string(length) + " tokens, its ends counted, and the model sees " +
                        std::to_string(context),
                    "shorten it");
  }
  trained.model->allocate({.batch = 1, .sequence = length}, /*predictions=*/1);
  const auto guesses = fill_masks(*trained.model, text.tokens, text.places, arguments.top_k);
  if (arguments.json) {
    print_json(guesses, *trained.tokenizer);
  } else {
    print(guesses, *trained.tokenizer);
  }
}

}  // namespace

void add_fill_command(CLI::App& app, Process& process) {
  CLI::App* command = app.add_subcommand("fill", "Guess the masked words of a text");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("model", arguments->model, "A run's directory, or one of its checkpoints")->required();
  command->add_option("--text", arguments->text, "The text, with [MASK] for each token that is to be guessed")
      ->required();
  command->add_option("--top-k", arguments->top_k, "As many guesses for each, the likeliest first")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  arguments->device.add_to(*command);
  command->add_flag("--json", arguments->json, "A JSON array of guesses for each mask instead of text");
  command->footer(
      "Of a model with model.kind=encoder.\n"
      "\n"
      "Example:\n"
      "  trireme fill runs/bert --text \"The [MASK] sat on the mat.\"");
  command->callback([arguments, &process] { fill(*arguments, process); });
}

}  // namespace trireme
