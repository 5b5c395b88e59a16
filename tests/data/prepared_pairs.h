// Data sets of pairs for the tests of reading.
#pragma once

#include <cstdint>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "data/pair_dataset.h"
#include "data/prepare_pairs.h"
#include "data/tokenizer/tokenizer.h"
#include "tests/support/temp_dir.h"

namespace trireme {

using Sentences = std::vector<std::pair<std::string, std::string>>;

inline PairPrepareSummary prepare_pairs_quietly(const PairPrepareOptions& options) {
  return prepare_pairs(options, [](const PrepareProgress&) {});
}

// Different pairs of made-up sentences; lengths as in a corpus: many short ones, few long ones, targets like
// sources.
inline Sentences made_up_pairs(int count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto sentence = [&](int number, std::size_t size) {
    std::string text = std::to_string(number);
    while (text.size() < size) text += random() % 6 == 0 ? ' ' : static_cast<char>('a' + random() % 26);
    text.back() = '.';
    return text;
  };
  Sentences pairs;
  for (int i = 0; i < count; ++i) {
    const std::size_t size = 6 + random() % 10 * (random() % 12);
    pairs.emplace_back(sentence(i, size), sentence(i, size + random() % 7));
  }
  return pairs;
}

// A table of the pairs, to be prepared as bytes.
inline PairPrepareOptions table_options(const TempDir& dir, const std::string& name, const Sentences& pairs) {
  std::ofstream table(dir / (name + ".tsv"), std::ios::binary);
  for (const auto& [source, target] : pairs) table << source << '\t' << target << '\n';
  PairPrepareOptions options;
  options.inputs.inputs = {dir / (name + ".tsv")};
  options.common.output = dir / name;
  options.common.tokenizer = "byte";
  return options;
}

// The pairs of a split, in order.
inline Sentences pairs_of(PairDataset& dataset) {
  const auto tokenizer = load_tokenizer(dataset.folder() / kTokenizerFile);
  Sentences pairs;
  for (std::int64_t i = 0; i < dataset.num_pairs(); ++i) {
    const PairLengths lengths = dataset.lengths()[static_cast<std::size_t>(i)];
    std::vector<std::int32_t> source(lengths.source);
    std::vector<std::int32_t> target(lengths.target);
    dataset.read(i, source, target);
    pairs.emplace_back(tokenizer->decode(source), tokenizer->decode(target));
  }
  return pairs;
}

}  // namespace trireme
