#include "trainer/translate.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "trainer/evaluate_pairs.h"

namespace trireme {
namespace {

// The sum over all ranks of each count.  Exact, as long as none reaches 2^31.
void sum_over_ranks(std::span<std::int64_t> counts, Communicator& axis) {
  std::vector<std::int32_t> narrow;
  for (const std::int64_t count : counts) {
    CHECK_LE(count, std::numeric_limits<std::int32_t>::max() / axis.size());
    narrow.push_back(static_cast<std::int32_t>(count));
  }
  const Tensor all(narrow.data(), DType::kInt32, {static_cast<std::int64_t>(narrow.size())});
  axis.wait(axis.all_reduce(all, ReduceOp::kSum, Stream()), Stream());
  std::copy(narrow.begin(), narrow.end(), counts.begin());
}

}  // namespace

std::vector<Translation> translate(EncoderDecoder& model, std::span<const std::vector<std::int32_t>> sources,
                                   std::int32_t end, const BeamOptions& options, std::int64_t tokens) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (!sources[i].empty()) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return sources[a].size() > sources[b].size(); });
  std::vector<Translation> translations(sources.size());
  std::vector<std::vector<std::int32_t>> batch;
  for (std::size_t begin = 0; begin < order.size(); begin += batch.size()) {
    const auto longest = static_cast<std::int64_t>(sources[order[begin]].size() + 1);
    CHECK_LE(std::max(longest, options.beam), tokens);
    const auto room = static_cast<std::size_t>(tokens / std::max(longest, options.beam));
    batch.clear();
    for (std::size_t i = begin; i < std::min(begin + room, order.size()); ++i)
      batch.push_back(sources[order[i]]);
    std::vector<Translation> found = beam_search(model, batch, end, options);
    for (std::size_t i = 0; i < found.size(); ++i) translations[order[begin + i]] = std::move(found[i]);
  }
  return translations;
}

TranslationScores score_translations(EncoderDecoder& model, PairDataset& data, const Tokenizer& tokenizer,
                                     std::int64_t pairs, const BeamOptions& options, std::int64_t tokens,
                                     Communicator& data_axis) {
  const auto lengths = data.lengths().first(static_cast<std::size_t>(std::min(pairs, data.num_pairs())));
  const auto batches = batches_of_like_length(lengths, tokens);
  TranslationScores scores;
  for (auto i = static_cast<std::size_t>(data_axis.rank()); i < batches.size();
       i += static_cast<std::size_t>(data_axis.size())) {
    std::vector<std::vector<std::int32_t>> sources, targets;
    for (const std::uint32_t pair : batches[i]) {
      sources.emplace_back(lengths[pair].source);
      targets.emplace_back(lengths[pair].target);
      data.read(pair, sources.back(), targets.back());
    }
    const auto translations = translate(model, sources, data.end(), options, tokens);
    for (std::size_t row = 0; row < targets.size(); ++row) {
      const std::string hypothesis = tokenizer.decode(translations[row].tokens);
      const std::string reference = tokenizer.decode(targets[row]);
      scores.bleu.add(hypothesis, reference);
      scores.chrf.add(hypothesis, reference);
    }
  }
  for (const std::span<std::int64_t> counts :
       {std::span<std::int64_t>(scores.bleu.matches), std::span<std::int64_t>(scores.bleu.totals),
        std::span(&scores.bleu.hypothesis_tokens, 1), std::span(&scores.bleu.reference_tokens, 1),
        std::span<std::int64_t>(scores.chrf.matches), std::span<std::int64_t>(scores.chrf.hypotheses),
        std::span<std::int64_t>(scores.chrf.references)}) {
    sum_over_ranks(counts, data_axis);
  }
  return scores;
}

}  // namespace trireme
