#include "launch/commands/beam_arguments.h"

#include <algorithm>

#include <CLI/CLI.hpp>

namespace trireme {

void BeamArguments::add_to(CLI::App& command) {
  command.add_option("--beam", options.beam, "Hypotheses that are followed; 1: always the likeliest token")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command
      .add_option("--alpha", options.alpha,
                  "Length penalty: log-probabilities count over ((5 + length) / 6)^alpha")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      .add_option("--max-ratio", options.max_ratio,
                  "A translation has at most so many times the tokens of its source, and 10 more")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--average", average, "Average the parameters of so many last checkpoints of the run")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      .add_option("--batch-tokens", tokens_at_once,
                  "Tokens that are translated at once; more need more memory, and change no result")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

std::int64_t BeamArguments::tokens_for(std::int64_t context) const {
  return std::max({tokens_at_once, context, options.beam});
}

}  // namespace trireme
