#include "trainer/model/embedding.h"

#include <cmath>

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

void Embedding::forward(Tensor x_NC, Tensor tokens_BT, const Pass& pass) const {
  const std::int64_t first_position = pass.cache != nullptr ? pass.cache->length : 0;
  embedding_forward(x_NC.view({pass.batch, pass.sequence, token_table_.shape[1]}), tokens_BT,
                    token_table_.value,
                    position_table_ != nullptr ? position_table_->value : positions_.sinusoids_PC(),
                    first_position, pass.positions_BT, token_scale_, dropout(pass), pass.stream);
}

void Embedding::backward(Tensor dx_NC, Tensor tokens_BT, GradientReducer& reducer, const Pass& pass) const {
  embedding_backward(token_table_.gradient, position_table_ != nullptr ? position_table_->gradient : Tensor(),
                     dx_NC.view({pass.batch, pass.sequence, token_table_.shape[1]}), tokens_BT,
                     pass.positions_BT, token_scale_, dropout(pass), pass.stream);
  if (position_table_ != nullptr) reducer.mark_ready(*position_table_, pass.stream);
  if (owns_table_) reducer.mark_ready(token_table_, pass.stream);
}

}  // namespace trireme
