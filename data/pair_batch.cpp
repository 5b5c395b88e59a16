#include "data/pair_batch.h"

#include <algorithm>

namespace trireme {

void read_pair_rows(PairDataset& dataset, std::span<const std::uint32_t> pairs, PairBatch& batch,
                    PaddedLengths at_least) {
  batch.sequences = static_cast<std::int64_t>(pairs.size());
  batch.source_lengths.clear();
  batch.target_lengths.clear();
  for (const std::uint32_t pair : pairs) {
    const PairLengths lengths = dataset.lengths()[pair];
    batch.source_lengths.push_back(lengths.source + 1);
    batch.target_lengths.push_back(lengths.target + 1);
  }
  const auto longest = [](const std::vector<std::int32_t>& lengths, std::int64_t least) {
    for (const std::int32_t length : lengths) least = std::max<std::int64_t>(least, length);
    return static_cast<std::size_t>(least);
  };
  const std::size_t source_length = longest(batch.source_lengths, at_least.source);
  const std::size_t target_length = longest(batch.target_lengths, at_least.target);
  batch.source_length = static_cast<std::int64_t>(source_length);
  batch.target_length = static_cast<std::int64_t>(target_length);
  batch.sources.assign(pairs.size() * source_length, dataset.end());
  batch.target_inputs.assign(pairs.size() * target_length, dataset.end());
  batch.target_outputs.assign(pairs.size() * target_length, kPaddingTarget);
  for (std::size_t row = 0; row < pairs.size(); ++row) {
    const PairLengths lengths = dataset.lengths()[pairs[row]];
    const std::span source = std::span(batch.sources).subspan(row * source_length, lengths.source);
    const std::span output =
        std::span(batch.target_outputs).subspan(row * target_length, lengths.target + 1u);
    dataset.read(pairs[row], source, output.first(lengths.target));
    std::copy_n(output.begin(), lengths.target, batch.target_inputs.begin() + row * target_length + 1);
    output.back() = dataset.end();
  }
}

}  // namespace trireme
