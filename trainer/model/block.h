// One Transformer block.
#pragma once

#include <cstdint>
#include <string>

#include "trainer/model/attention.h"
#include "trainer/model/mlp.h"
#include "trainer/model/norm.h"

namespace trireme {

// Pre-norm:  r += attention(norm(r));  r += mlp(norm(r)).  Each addition is left as the stream's branch to
// the norm that follows. Post-norm: r = norm(r + attention(r));  r = norm(r + mlp(r)).
class TransformerBlock {
 public:
  struct Activations {
    ResidualNorm::Activations attention_norm;
    SelfAttention::Activations attention;
    ResidualNorm::Activations mlp_norm;
    Mlp::Activations mlp;
  };
  // Memory that lives within one pass through one block; all blocks share one.
  struct Scratch {
    Tensor branch_NC;  // also read by the norm of the next block
    // Only when training:
    Tensor dbranch_NC;
    Tensor dy_NC;  // of a norm's output (pre-norm), or of the sum that enters it (post-norm)
    SelfAttention::Scratch attention;
    Mlp::Scratch mlp;
  };

  TransformerBlock(ParameterBuffer& parameters, std::int64_t layer, const TransformerOptions& options,
                   const PositionTables& positions, float out_stddev);

  Activations allocate(Arena& arena, const PassLimits& limits) const;
  Scratch allocate_scratch(Arena& arena, const PassLimits& limits) const;

  void forward(ResidualStream& stream, const Activations& activations, const Scratch& scratch,
               const Pass& pass) const;
  // `x` is the residual that entered post-norm, `branch_dropout` that of the branch which entered pre-norm.
  void backward(ResidualGradient& gradient, Tensor x_NC, Dropout branch_dropout,
                const Activations& activations, const Scratch& scratch, GradientReducer& reducer,
                const Pass& pass) const;

  // The mask on the branch that this block leaves.
  Dropout mlp_dropout(const Pass& pass) const;

 private:
  Dropout attention_dropout(const Pass& pass) const;
  void backward_pre_norm(ResidualGradient& gradient, Dropout branch_dropout, const Activations& activations,
                         const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const;
  void backward_post_norm(ResidualGradient& gradient, Tensor x_NC, const Activations& activations,
                          const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const;

  std::int64_t layer_;
  std::int64_t width_;
  NormPlacement placement_;
  ResidualNorm attention_norm_;
  SelfAttention attention_;
  ResidualNorm mlp_norm_;
  Mlp mlp_;
};

}  // namespace trireme
