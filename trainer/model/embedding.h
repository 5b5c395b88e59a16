// Token and position embeddings.
#pragma once

#include <cstdint>

#include "kernels/embedding.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "trainer/model/pass.h"
#include "trainer/model/positions.h"

namespace trireme {

// x = dropout(token_table[token] + position_table[position]); the positions are learned, or sinusoids, to
// which tokens come times sqrt(C) ("Attention Is All You Need", section 3.4), or not known here.
class Embedding {
 public:
  // `positions` must outlive the layer.
  Embedding(ParameterBuffer& parameters, const TransformerOptions& options, const PositionTables& positions);

  void forward(Tensor x_NC, Tensor tokens_BT, const Pass& pass) const;
  // The last to touch the token table, which the output layer shares.
  void backward(Tensor dx_NC, Tensor tokens_BT, GradientReducer& reducer, const Pass& pass) const;

  const Parameter& token_table() const { return token_table_; }

 private:
  Dropout dropout(const Pass& pass) const;

  const PositionTables& positions_;
  float token_scale_;
  const Parameter& token_table_;               // [V, C]
  const Parameter* position_table_ = nullptr;  // [context, C], if learned
};

}  // namespace trireme
