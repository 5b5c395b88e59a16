// What a token is before the first block: the sum of its embeddings.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kernels/arena.h"
#include "kernels/embedding.h"
#include "kernels/vocabulary.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "trainer/model/norm.h"
#include "trainer/model/pass.h"
#include "trainer/model/positions.h"
#include "trainer/model/tensor_ranks.h"

namespace trireme {

// The table [V, C] of a stack's tokens: this rank's rows.
const Parameter& add_token_table(ParameterBuffer& parameters, const TransformerOptions& options,
                                 const std::string& prefix, const TensorRanks& ranks);

// Of own rows, of tokens of all rows:
// x = dropout(norm(token_table[token] + position_table[position] + type_table[type])); the positions are
// learned, or sinusoids, to which tokens come times sqrt(C) ("Attention Is All You Need", section 3.4), or
// not known here; there may be no types, and no norm.  Of a stack each; the token table may be another's.
class Embedding {
 public:
  struct Activations {
    ResidualNorm::Activations norm;  // if there is one; its y is what forward() is asked to write
    Tensor first_type_N;             // int32; if there are types: those of a pass that names none
  };

  // `positions` and `ranks` must outlive the layer.  `shared_table` is that of a layer whose backward comes
  // later.
  Embedding(ParameterBuffer& parameters, const TransformerOptions& options, const StackOptions& stack,
            const PositionTables& positions, const TensorRanks& ranks,
            const Parameter* shared_table = nullptr);

  Activations allocate(Arena& arena, const PassLimits& limits) const;

  // `scratch` is free again afterwards; so it is after backward.
  void forward(Tensor x_NC, Tensor tokens_BT, const Activations& activations, Tensor scratch_NC,
               const Pass& pass) const;
  // Of those that share a token table of this layer's own, the last to touch it.  `dx` is overwritten.
  void backward(Tensor dx_NC, Tensor tokens_BT, const Activations& activations, Tensor scratch_NC,
                GradientReducer& reducer, const Pass& pass) const;

  // What enters a loop of a looped stack: the stream's sum, the signal of the loop and, from the second loop
  // on, the positions anew (Dehghani et al. 2019, section 2.1).  `x` may be the stream's residual.  `scratch`
  // [N, C] is free again afterwards; it may be the stream's branch.
  void enter_loop(Tensor x_NC, const ResidualStream& stream, Tensor tokens_BT, Tensor scratch_NC,
                  const Pass& pass) const;
  // The positions' gradient +=.
  void backward_loop(Tensor dx_NC, Tensor tokens_BT, const Pass& pass) const;

  const Parameter& token_table() const { return token_table_; }

 private:
  Dropout dropout(const Pass& pass) const;
  // Whether the sum is done when tokens and positions are added, and so is dropped out in the same go.
  bool is_plain() const { return type_table_ == nullptr && !norm_ && ranks_.is_alone(); }
  Tensor types_of(const Activations& activations, const Pass& pass) const;
  Tensor as_sequences(Tensor x_NC, const Pass& pass) const;
  // Learned or sinusoids, [P, C]; empty if neither.
  Tensor position_table() const;

  Tensor own_rows_of(Tensor activation, const Pass& pass) const {
    return ranks_.own_rows_of(activation, pass.rows());
  }
  // Of the token table: this rank's rows.
  VocabularyPart vocabulary_part() const;
  // Of another table, which every rank has whole, and gets the whole gradient of.
  const Parameter& add_table(ParameterBuffer& parameters, const std::string& name, std::int64_t rows,
                             const TransformerOptions& options) const;

  const TensorRanks& ranks_;
  const PositionTables& positions_;
  std::int64_t layer_;
  float token_scale_;
  bool owns_table_;
  const Parameter& token_table_;               // [V, C]
  const Parameter* position_table_ = nullptr;  // [context, C], if learned
  const Parameter* type_table_ = nullptr;      // [types, C], if there are any
  std::optional<ResidualNorm> norm_;
};

}  // namespace trireme
