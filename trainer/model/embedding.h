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
// which tokens come times sqrt(C) ("Attention Is All You Need", section 3.4), or not known here.  Of a stack
// each; the token table may be another's.
class Embedding {
 public:
  // `positions` must outlive the layer.  `shared_table` is that of a layer whose backward comes later.
  Embedding(ParameterBuffer& parameters, const TransformerOptions& options, const StackOptions& stack,
            const PositionTables& positions, const Parameter* shared_table = nullptr);

  void forward(Tensor x_NC, Tensor tokens_BT, const Pass& pass) const;
  // Of those that share a token table of this layer's own, the last to touch it.
  void backward(Tensor dx_NC, Tensor tokens_BT, GradientReducer& reducer, const Pass& pass) const;

  const Parameter& token_table() const { return token_table_; }

 private:
  Dropout dropout(const Pass& pass) const;

  const PositionTables& positions_;
  std::int64_t layer_;
  float token_scale_;
  bool owns_table_;
  const Parameter& token_table_;               // [V, C]
  const Parameter* position_table_ = nullptr;  // [context, C], if learned
};

}  // namespace trireme
