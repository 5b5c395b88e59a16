// Token and learned position embeddings.
#pragma once

#include <cstdint>

#include "kernels/embedding.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "trainer/model/pass.h"

namespace trireme {

// x = dropout(token_table[token] + position_table[position]).
class Embedding {
 public:
  Embedding(ParameterBuffer& parameters, std::int64_t vocabulary, std::int64_t context, std::int64_t width,
            float init_stddev);

  void forward(Tensor x_NC, Tensor tokens_BT, const Pass& pass) const;
  // The last to touch the token table, which the output layer shares.
  void backward(Tensor dx_NC, Tensor tokens_BT, GradientReducer& reducer, const Pass& pass) const;

  const Parameter& token_table() const { return token_table_; }

 private:
  Dropout dropout(const Pass& pass) const;

  const Parameter& token_table_;     // [V, C]
  const Parameter& position_table_;  // [context, C]
};

}  // namespace trireme
