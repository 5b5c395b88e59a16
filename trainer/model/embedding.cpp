#include "trainer/model/embedding.h"

namespace trireme {

Embedding::Embedding(ParameterBuffer& parameters, std::int64_t vocabulary, std::int64_t context,
                     std::int64_t width, float init_stddev)
    : token_table_(parameters.add("embedding.token", {vocabulary, width}, Initializer::normal(init_stddev),
                                  /*weight_decay=*/true)),
      position_table_(parameters.add("embedding.position", {context, width}, Initializer::normal(init_stddev),
                                     /*weight_decay=*/true)) {}

Dropout Embedding::dropout(const Pass& pass) const {
  return pass.dropout.at(-1, DropoutSite::kEmbedding, pass.sequence * token_table_.shape[1]);
}

void Embedding::forward(Tensor x_NC, Tensor tokens_BT, const Pass& pass) const {
  const std::int64_t first_position = pass.cache != nullptr ? pass.cache->length : 0;
  embedding_forward(x_NC.view({pass.batch, pass.sequence, token_table_.shape[1]}), tokens_BT,
                    token_table_.value, position_table_.value, first_position, dropout(pass), pass.stream);
}

void Embedding::backward(Tensor dx_NC, Tensor tokens_BT, GradientReducer& reducer, const Pass& pass) const {
  embedding_backward(token_table_.gradient, position_table_.gradient,
                     dx_NC.view({pass.batch, pass.sequence, token_table_.shape[1]}), tokens_BT, dropout(pass),
                     pass.stream);
  reducer.mark_ready(position_table_, pass.stream);
  reducer.mark_ready(token_table_, pass.stream);
}

}  // namespace trireme
