#include "trainer/model/embedding.h"

#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/residual.h"

namespace trireme {

Embedding::Embedding(ParameterBuffer& parameters, const TransformerOptions& options,
                     const StackOptions& stack, const PositionTables& positions,
                     const Parameter* shared_table)
    : positions_(positions),
      layer_(stack.first_layer - 1),
      token_scale_(options.positions == Positions::kSinusoidal ? std::sqrt(static_cast<float>(options.width))
                                                               : 1.0F),
      owns_table_(shared_table == nullptr),
      token_table_(owns_table_
                       ? parameters.add(stack.prefix + "embedding.token", {options.vocabulary, options.width},
                                        Initializer::normal(options.init_stddev), /*weight_decay=*/true)
                       : *shared_table) {
  if (options.positions == Positions::kLearned) {
    position_table_ = &parameters.add(stack.prefix + "embedding.position", {options.context, options.width},
                                      Initializer::normal(options.init_stddev), /*weight_decay=*/true);
  }
}

Dropout Embedding::dropout(const Pass& pass) const {
  return pass.dropout.at(layer_, DropoutSite::kEmbedding, pass.sequence * token_table_.shape[1]);
}

Tensor Embedding::position_table() const {
  return position_table_ != nullptr ? position_table_->value : positions_.sinusoids_PC();
}

void Embedding::forward(Tensor x_NC, Tensor tokens_BT, const Pass& pass) const {
  const std::int64_t first_position = pass.cache != nullptr ? pass.cache->length : 0;
  embedding_forward(x_NC.view({pass.batch, pass.sequence, token_table_.shape[1]}), tokens_BT,
                    token_table_.value, position_table(), first_position, pass.positions_BT, token_scale_,
                    dropout(pass), pass.stream);
}

void Embedding::backward(Tensor dx_NC, Tensor tokens_BT, GradientReducer& reducer, const Pass& pass) const {
  embedding_backward(token_table_.gradient, position_table_ != nullptr ? position_table_->gradient : Tensor(),
                     dx_NC.view({pass.batch, pass.sequence, token_table_.shape[1]}), tokens_BT,
                     pass.positions_BT, token_scale_, dropout(pass), pass.stream);
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
  embedding_forward(positions.view({pass.batch, pass.sequence, width}), tokens_BT, token_table_.value,
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
