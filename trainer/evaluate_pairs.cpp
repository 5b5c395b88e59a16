#include "trainer/evaluate_pairs.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "data/pair_epoch.h"
#include "data/user_error.h"
#include "trainer/loss_sum.h"

namespace trireme {

PairTensors tensors_of(const PairBatch& batch, TokenUpload& upload) {
  const auto tensor = [&](const std::vector<std::int32_t>& numbers, Shape shape) {
    return upload.bring({const_cast<std::int32_t*>(numbers.data()), DType::kInt32, shape});
  };
  const Shape targets = {batch.sequences, batch.target_length};
  return {.sources_BS = tensor(batch.sources, {batch.sequences, batch.source_length}),
          .source_lengths_B = tensor(batch.source_lengths, {batch.sequences}),
          .target_inputs_BT = tensor(batch.target_inputs, targets),
          .target_outputs_BT = tensor(batch.target_outputs, targets)};
}

std::int64_t longest_sentence(const PairDataset& data) {
  std::int64_t longest = 0;
  for (const PairLengths& pair : data.lengths()) longest = std::max(longest, longer_side(pair));
  return longest;
}

void check_pairs(const PairDataset& data, std::int64_t context) {
  if (data.num_pairs() == 0) {
    throw UserError(data.folder().string(), "split '" + data.split() + "' has no pairs",
                    "prepare more text, or another --validation-fraction");
  }
  if (const std::int64_t longest = longest_sentence(data); longest > context) {
    throw UserError("model.context",
                    "is " + std::to_string(context) + ", but split '" + data.split() + "' of " +
                        data.folder().string() + " has a sentence of " + std::to_string(longest) +
                        " tokens (its end counted)",
                    "raise it, or prepare the data with a smaller --max-tokens");
  }
}

std::vector<std::vector<std::uint32_t>> batches_of_like_length(std::span<const PairLengths> lengths,
                                                               std::int64_t tokens) {
  std::vector<std::uint32_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return longer_side(lengths[a]) > longer_side(lengths[b]);
  });
  std::vector<std::vector<std::uint32_t>> batches;
  for (std::size_t begin = 0; begin < order.size();) {
    const auto room = static_cast<std::size_t>(tokens / longer_side(lengths[order[begin]]));
    const std::size_t end = std::min(begin + room, order.size());
    batches.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(begin),
                         order.begin() + static_cast<std::ptrdiff_t>(end));
    begin = end;
  }
  return batches;
}

double evaluate_pairs(EncoderDecoder& model, PairDataset& data, std::int64_t pairs, std::int64_t tokens,
                      Communicator& data_axis) {
  const auto forward_loss = [&](Tensor loss_1, const PairTensors& batch, const Pass& pass) {
    model.forward_loss(loss_1, batch, pass);
  };
  return evaluate_pairs(forward_loss, data, pairs, tokens, data_axis, model.stream());
}

double evaluate_pairs(const ForwardLossOfPairs& forward_loss, PairDataset& data, std::int64_t pairs,
                      std::int64_t tokens, Communicator& data_axis, Stream stream) {
  const auto lengths = data.lengths().first(static_cast<std::size_t>(std::min(pairs, data.num_pairs())));
  const auto batches = batches_of_like_length(lengths, tokens);
  const LossSum loss(stream);
  TokenUpload upload(stream);
  PairBatch batch;
  for (auto i = static_cast<std::size_t>(data_axis.rank()); i < batches.size();
       i += static_cast<std::size_t>(data_axis.size())) {
    read_pair_rows(data, batches[i], batch);
    upload.begin();
    forward_loss(loss.tensor(), tensors_of(batch, upload), {.stream = stream});
  }
  const double loss_sum = loss.over(data_axis);
  std::int64_t num_targets = 0;
  for (const PairLengths& pair : lengths) num_targets += pair.target + 1;
  return loss_sum / static_cast<double>(num_targets);
}

AttentionEntropies evaluate_attention(EncoderDecoder& model, PairDataset& data, std::int64_t pairs,
                                      Communicator& data_axis) {
  const LossSum loss(model.stream());
  TokenUpload upload(model.stream());
  PairBatch batch;
  const auto pass = [&](std::int64_t i, AttentionObserver& observer) {
    const auto pair = static_cast<std::uint32_t>(i);
    read_pair_rows(data, std::span(&pair, 1), batch);
    upload.begin();
    model.forward_loss(loss.tensor(), tensors_of(batch, upload),
                       {.attention_observer = &observer, .stream = model.stream()});
  };
  return mean_attention_entropies(std::min(pairs, data.num_pairs()), pass, data_axis);
}

}  // namespace trireme
