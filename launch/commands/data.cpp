#include "launch/commands/data.h"

#include <iostream>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "data/manifest.h"
#include "data/pair_dataset.h"
#include "data/token_dataset.h"

namespace trireme {
namespace {

void inspect(const std::string& folder) {
  const Manifest manifest = load_manifest(folder);
  std::cout << "id         " << manifest.dataset_id << "\n"
            << "tokenizer  " << manifest.tokenizer_kind << ", " << manifest.vocab_size << " tokens, "
            << manifest.tokenizer << "\n";
  for (const auto& [name, split] : manifest.splits) {
    std::cout << name << ": " << split.num_tokens << " tokens of " << split.num_documents
              << (manifest.content == Content::kText ? " documents, " : " pairs, ") << split.bytes_per_token()
              << " bytes per token, unigram entropy " << split.unigram_entropy << " nats\n";
    for (const ShardFacts& shard : split.shards) {
      std::cout << "  " << shard.file << ": " << shard.num_tokens << " tokens, " << shard.size_bytes
                << " bytes\n";
    }
  }
}

void verify(const std::string& folder) {
  const Manifest manifest = load_manifest(folder);
  for (const auto& [name, split] : manifest.splits) {
    if (manifest.content == Content::kText) {
      TokenDataset(folder, name).verify();
    } else {
      PairDataset(folder, name).verify();
    }
    std::cout << folder << ": " << name << " is whole: " << split.shards.size() << " shards, "
              << split.num_tokens << " tokens\n";
  }
}

}  // namespace

void add_data_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("data", "Look at data sets, or check them");
  command->require_subcommand(1);
  const auto folder = std::make_shared<std::string>();

  CLI::App* inspecting = command->add_subcommand("inspect", "Print what a data set holds");
  inspecting->add_option("folder", *folder, "A folder that `trireme prepare` made")->required();
  inspecting->callback([folder] { inspect(*folder); });

  CLI::App* verifying = command->add_subcommand("verify", "Read every byte of a data set and check it");
  verifying->add_option("folder", *folder, "A folder that `trireme prepare` made")->required();
  verifying->callback([folder] { verify(*folder); });
}

}  // namespace trireme
