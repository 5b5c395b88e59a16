#include "trainer/model/embedding.h"

#include <algorithm>
#include <cmath>

#include <glog/logging.h>

#include "kernels/elementwise.h"
#include "kernels/residual.h"

namespace trireme {

const Parameter& add_token_table(ParameterBuffer& parameters, const TransformerOptions& options,
                                 const std::string& prefix, const TensorRanks& ranks) {
  return parameters.add(
      prefix + "embedding.token",
      ParameterPart::rows_of({options.vocabulary, options.width}, {ranks.share(options.vocabulary)}),
      Initializer::normal(options.init_stddev), /*weight_decay=*/true);
}

Embedding::Embedding(ParameterBuffer& parameters, const TransformerOptions& options,
                     const StackOptions& stack, const PositionTables& positions, const TensorRanks& ranks,
                     const Parameter* shared_table)
    : ranks_(ranks),
      positions_(positions),
      layer_(stack.first_layer - 1),
      token_scale_(options.positions == Positions::kSinusoidal ? std::sqrt(static_cast<float>(options.width))
                                                               : 1.0F),
      owns_table_(shared_table == nullptr),
      token_table_(
          owns_table_ ? add_token_table(parameters, options,
                                        stack.table_prefix.empty() ? stack.prefix : stack.table_prefix, ranks)
                      : *shared_table) {
  const auto table = [&](const char* name, std::int64_t rows) {
    return &add_table(parameters, stack.prefix + name, rows, options);
  };
  if (options.positions == Positions::kLearned)
    position_table_ = table("embedding.position", options.context);
  CHECK(options.token_types == 0 || ranks.is_alone());
  if (options.token_types > 0) type_table_ = table("embedding.type", options.token_types);
  if (options.embedding_norm) norm_.emplace(parameters, stack.prefix + "embedding.norm", options, ranks);
}

const Parameter& Embedding::add_table(ParameterBuffer& parameters, const std::string& name, std::int64_t rows,
                                      const TransformerOptions& options) const {
  Parameter& table = parameters.add(name, Shape{rows, options.width},
                                    Initializer::normal(options.init_stddev), /*weight_decay=*/true);
  if (!ranks_.is_alone())
    table.replicas.push_back({.group = ranks_.group(), .elements = {0, table.shape.num_elements()}});
  return table;
}

VocabularyPart Embedding::vocabulary_part() const {
  const std::int64_t whole = token_table_.part.whole[0];
  return {.first = ranks_.share(whole).begin, .whole = whole};
}

Embedding::Activations Embedding::allocate(Arena& arena, const PassLimits& limits) const {
  Activations activations;
  if (norm_) activations.norm = norm_->allocate(arena, limits);
  if (type_table_ != nullptr) activations.first_type_N = arena.allocate(DType::kInt32, {limits.rows()});
  return activations;
}

Dropout Embedding::dropout(const Pass& pass) const {
  const std::int64_t width = token_table_.shape[1];
  return ranks_.own_mask(pass.dropout.at(layer_, DropoutSite::kEmbedding, pass.sequence * width), pass.rows(),
                         width);
}

Tensor Embedding::types_of(const Activations& activations, const Pass& pass) const {
  if (pass.token_types_BT) return pass.token_types_BT;
  const Tensor types = pass.rows_of(activations.first_type_N);
  fill(types, 0.0F, pass.stream);
  return types.view({pass.batch, pass.sequence});
}

Tensor Embedding::position_table() const {
  return position_table_ != nullptr ? position_table_->operand : positions_.sinusoids_PC();
}

Tensor Embedding::as_sequences(Tensor x_NC, const Pass& pass) const {
  return x_NC.view({pass.batch, pass.sequence, token_table_.shape[1]});
}

void Embedding::forward(Tensor x_NC, Tensor tokens_BT, const Activations& activations, Tensor scratch_NC,
                        const Pass& pass) const {
  const std::int64_t first_position = pass.cache != nullptr ? pass.cache->length : 0;
  const Tensor own_sum = norm_ ? own_rows_of(activations.norm.sum_NC, pass) : x_NC;
  const Tensor sum = ranks_.partial(own_sum, pass.rows());
  // Only one rank adds positions to its tokens'.
  embedding_forward(as_sequences(sum, pass), tokens_BT, token_table_.operand,
                    ranks_.rank() == 0 ? position_table() : Tensor(), first_position, pass.positions_BT,
                    token_scale_, is_plain() ? dropout(pass) : Dropout(), pass.stream, vocabulary_part());
  if (is_plain()) return;
  if (type_table_ != nullptr) {
    const Tensor of_type = pass.rows_of(scratch_NC);
    embedding_forward(as_sequences(of_type, pass), types_of(activations, pass), type_table_->operand, {}, 0,
                      {}, 1.0F, Dropout(), pass.stream);
    accumulate(sum, of_type, pass.stream);
  }
  ranks_.sum(own_sum, pass.rows(), pass.stream);
  if (norm_) {
    ResidualStream stream{.residual_NC = own_sum, .branch_NC = {}, .dropout = {}};
    ResidualNorm::Activations norm = activations.norm;
    norm.y_NC = x_NC;
    norm_->forward(stream, norm, pass);
  }
  if (const Dropout mask = dropout(pass)) trireme::dropout(x_NC, x_NC, mask, pass.stream);
}

void Embedding::backward(Tensor dx_NC, Tensor tokens_BT, const Activations& activations, Tensor scratch_NC,
                         GradientReducer& reducer, const Pass& pass) const {
  ResidualGradient sum{.dresidual_NC = dx_NC, .dbranch_NC = {}};
  const Dropout mask = dropout(pass);
  if (mask && !is_plain()) trireme::dropout(dx_NC, dx_NC, mask, pass.stream);
  if (norm_) {
    sum.dresidual_NC = own_rows_of(scratch_NC, pass);
    fill(sum.dresidual_NC, 0.0F, pass.stream);
    norm_->backward(sum, {}, dx_NC, activations.norm, Dropout(), reducer, pass);
  }
  const Tensor dsum_BTC = as_sequences(ranks_.gather(sum.dresidual_NC, pass.rows(), pass.stream), pass);
  if (type_table_ != nullptr) {
    embedding_backward(type_table_->gradient, {}, dsum_BTC, types_of(activations, pass), {}, 1.0F, Dropout(),
                       pass.stream);
    reducer.mark_ready(*type_table_, pass.stream);
  }
  embedding_backward(token_table_.gradient, position_table_ != nullptr ? position_table_->gradient : Tensor(),
                     dsum_BTC, tokens_BT, pass.positions_BT, token_scale_, is_plain() ? mask : Dropout(),
                     pass.stream, vocabulary_part());
  if (position_table_ != nullptr) reducer.mark_ready(*position_table_, pass.stream);
  if (owns_table_) reducer.mark_ready(token_table_, pass.stream);
}

void Embedding::enter_loop(Tensor x_NC, const ResidualStream& stream, Tensor tokens_BT, Tensor scratch_NC,
                           const Pass& pass) const {
  const std::int64_t width = token_table_.shape[1];
  const std::int64_t loop = pass.loop;
  add_residual(x_NC, stream.residual_NC, stream.branch_NC,
               positions_.loop_signals_LC().slice(0, loop, loop + 1).view({width}), stream.dropout,
               pass.stream);
  if (loop == 0 || !position_table()) return;
  // Positions are found as they are for tokens, of which nothing is taken.
  const std::int64_t first_position = pass.cache != nullptr ? pass.cache->length : 0;
  const Tensor positions = pass.rows_of(scratch_NC);
  embedding_forward(positions.view({pass.batch, pass.sequence, width}), tokens_BT, token_table_.operand,
                    position_table(), first_position, pass.positions_BT, /*scale=*/0.0F, {}, pass.stream);
  accumulate(x_NC, positions, pass.stream);
}

void Embedding::backward_loop(Tensor dx_NC, Tensor tokens_BT, const Pass& pass) const {
  if (pass.loop == 0 || position_table_ == nullptr) return;
  embedding_backward(token_table_.gradient, position_table_->gradient,
                     dx_NC.view({pass.batch, pass.sequence, token_table_.shape[1]}), tokens_BT,
                     pass.positions_BT, /*scale=*/0.0F, {}, pass.stream);
}

}  // namespace trireme
