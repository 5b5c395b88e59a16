#include "trainer/model/loss.h"

#include <algorithm>

#include <glog/logging.h>

#include "kernels/cross_entropy.h"
#include "kernels/linear.h"
#include "kernels/reduce.h"
#include "kernels/top_k.h"
#include "trainer/model/embedding.h"

namespace trireme {
namespace {

// A chunk's logits: large enough for matmul to run at full speed, small beside the model.
constexpr std::int64_t kChunkBytes = std::int64_t{128} << 20;
constexpr std::int64_t kCacheLineElements = 16;

constexpr std::int64_t round_up(std::int64_t x, std::int64_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

}  // namespace

LanguageModelLoss::LanguageModelLoss(ParameterBuffer& parameters, const TransformerOptions& options,
                                     const Parameter* token_table, const TensorRanks& ranks,
                                     const std::string& prefix)
    : ranks_(ranks),
      parameters_(parameters),
      tokens_(ranks.share(options.vocabulary)),
      completes_table_(!options.tied_embeddings || token_table == nullptr),
      table_([&]() -> const Parameter& {
        if (!completes_table_) return *token_table;
        if (options.tied_embeddings) return add_token_table(parameters, options, prefix, ranks);
        return parameters.add("output.weight",
                              ParameterPart::rows_of({options.vocabulary, options.width}, {tokens_}),
                              Initializer::normal(options.init_stddev), /*weight_decay=*/true);
      }()) {
  if (options.output_bias) {
    bias_ = &parameters.add("output.bias", ParameterPart::rows_of({options.vocabulary}, {tokens_}),
                            Initializer::constant(0.0F), /*weight_decay=*/false);
  }
  bias_range_ = parameters.range_of("output.bias");
}

void LanguageModelLoss::allocate(Arena& arena, const PassLimits& limits) {
  const std::int64_t row_elements = round_up(tokens_.size(), kCacheLineElements);
  const std::int64_t most_rows = std::max<std::int64_t>(
      1, kChunkBytes / std::max<std::int64_t>(1, row_elements * size_bytes(limits.dtype)));
  const std::int64_t num_chunks = (limits.rows() + most_rows - 1) / most_rows;
  chunk_rows_ = (limits.rows() + num_chunks - 1) / num_chunks;
  logits_NV_ = arena.allocate(limits.dtype, {chunk_rows_, row_elements});
  lse_N_ = arena.allocate(DType::kFloat32, {chunk_rows_});
  target_logit_N_ = arena.allocate(DType::kFloat32, {chunk_rows_});
  smoothed_logit_N_ = arena.allocate(DType::kFloat32, {chunk_rows_});
  if (ranks_.is_alone()) return;
  found_ = arena.allocate(DType::kFloat32, {3 * chunk_rows_});
  all_found_ = arena.allocate(DType::kFloat32, {ranks_.size() * 3 * chunk_rows_});
}

template <typename Body>
void LanguageModelLoss::for_each_chunk(std::int64_t rows, Body body) const {
  for (std::int64_t begin = 0; begin < rows; begin += chunk_rows_) {
    body(begin, std::min(begin + chunk_rows_, rows));
  }
}

Tensor LanguageModelLoss::logits(Tensor hidden_NC, Stream stream) const {
  CHECK(ranks_.is_alone());
  return own_logits(hidden_NC, stream);
}

Tensor LanguageModelLoss::own_logits(Tensor hidden_NC, Stream stream) const {
  const Tensor logits = logits_NV_.slice(0, 0, hidden_NC.dim(0)).slice(1, 0, tokens_.size());
  linear_forward(logits, hidden_NC, table_.operand, bias_ != nullptr ? bias_->operand : Tensor(), stream);
  return logits;
}

Tensor LanguageModelLoss::forward_chunk(Tensor loss_1, Tensor hidden_NC, Tensor targets_N,
                                        const Pass& pass) const {
  const std::int64_t rows = hidden_NC.dim(0);
  const Tensor logits_NV = own_logits(hidden_NC, pass.stream);
  const Tensor lse = lse_N_.slice(0, 0, rows);
  const Tensor target_logit = target_logit_N_.slice(0, 0, rows);
  const Tensor smoothed_logit = smoothed_logit_N_.slice(0, 0, rows);
  const auto find = [&](Tensor lse_N, Tensor target_logit_N, Tensor smoothed_logit_N) {
    cross_entropy_forward(lse_N, target_logit_N, smoothed_logit_N, logits_NV, targets_N, pass.label_smoothing,
                          pass.stream, vocabulary_part());
  };
  if (ranks_.is_alone()) {
    find(lse, target_logit, smoothed_logit);
  } else {
    const auto found = [&](std::int64_t i) { return found_.slice(0, i * rows, (i + 1) * rows); };
    find(found(0), found(1), found(2));
    const Tensor all = all_found_.slice(0, 0, ranks_.size() * 3 * rows);
    ranks_.wait(ranks_.group()->all_gather(all, found_.slice(0, 0, 3 * rows), pass.stream), pass.stream);
    cross_entropy_combine(lse, target_logit, smoothed_logit, all.view({ranks_.size(), 3, rows}), targets_N,
                          pass.stream);
  }
  accumulate_sum_of_differences(loss_1, lse, smoothed_logit, pass.stream);
  if (pass.cross_entropy_1)
    accumulate_sum_of_differences(pass.cross_entropy_1, lse, target_logit, pass.stream);
  return logits_NV;
}

void LanguageModelLoss::forward(Tensor loss_1, Tensor hidden_NC, Tensor targets_N, const Pass& pass,
                                Tensor hits_1) const {
  CHECK(!hits_1 || ranks_.is_alone());
  const ParametersInUse table(parameters_, table_, pass.stream);
  const ParametersInUse bias(parameters_, bias_range_, pass.stream);
  const std::int64_t rows = targets_N.dim(0);
  const Tensor all_hidden = ranks_.gather(hidden_NC, rows, pass.stream);
  for_each_chunk(rows, [&](std::int64_t begin, std::int64_t end) {
    const Tensor targets = targets_N.slice(0, begin, end);
    const Tensor logits_NV = forward_chunk(loss_1, all_hidden.slice(0, begin, end), targets, pass);
    if (hits_1) count_hits(hits_1, logits_NV, targets, pass.stream);
  });
}

void LanguageModelLoss::forward_backward(Tensor loss_1, Tensor dhidden_NC, Tensor hidden_NC, Tensor targets_N,
                                         float scale, GradientReducer& reducer, const Pass& pass) const {
  const ParametersInUse table(parameters_, table_, pass.stream);
  const ParametersInUse bias(parameters_, bias_range_, pass.stream);
  reducer.expect(table_.elements(), pass.stream);
  reducer.expect(bias_range_, pass.stream);
  const std::int64_t rows = targets_N.dim(0);
  const Tensor all_hidden = ranks_.gather(hidden_NC, rows, pass.stream);
  const Tensor all_dhidden = ranks_.partial(dhidden_NC, rows);
  for_each_chunk(rows, [&](std::int64_t begin, std::int64_t end) {
    const Tensor hidden = all_hidden.slice(0, begin, end);
    const Tensor targets = targets_N.slice(0, begin, end);
    const Tensor logits_NV = forward_chunk(loss_1, hidden, targets, pass);
    const Tensor dlogits_NV = logits_NV;  // in place
    cross_entropy_backward(dlogits_NV, logits_NV, lse_N_.slice(0, 0, end - begin), targets,
                           pass.label_smoothing, scale, pass.stream, vocabulary_part());
    linear_backward(all_dhidden.slice(0, begin, end), table_.gradient,
                    bias_ != nullptr ? bias_->gradient : Tensor(), dlogits_NV, hidden, table_.operand,
                    pass.stream);
  });
  ranks_.sum(dhidden_NC, rows, pass.stream);
  if (bias_ != nullptr) reducer.mark_ready(*bias_, pass.stream);
  if (completes_table_) reducer.mark_ready(table_, pass.stream);
}

}  // namespace trireme
