// One Transformer block.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "trainer/model/attention.h"
#include "trainer/model/mlp.h"
#include "trainer/model/norm.h"

namespace trireme {

// Its sublayers are f = self-attention, cross-attention if the stack has it, and mlp, one after another.
// Pre-norm:  r += f(norm(r)).  Each addition is left as the stream's branch to the norm that follows.
// Post-norm: r = norm(r + f(r)).
class TransformerBlock {
 public:
  struct Activations {
    ResidualNorm::Activations attention_norm;
    SelfAttention::Activations attention;
    ResidualNorm::Activations cross_norm;  // if there is cross-attention
    CrossAttention::Activations cross_attention;
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
    CrossAttention::Scratch cross_attention;
    Mlp::Scratch mlp;
  };

  // Number `index` of its stack.
  TransformerBlock(ParameterBuffer& parameters, const StackOptions& stack, std::int64_t index,
                   const TransformerOptions& options, const PositionTables& positions, float out_stddev,
                   const TensorRanks& ranks);

  // All of its own; or, with those of a first block, its own of what is kept for backward alone.
  Activations allocate(Arena& arena, const PassLimits& limits, const Activations* first = nullptr) const;
  Scratch allocate_scratch(Arena& arena, const PassLimits& limits) const;

  // Into the cache of the pass: what cross-attention needs of the pass's memory.
  void project_memory(const Pass& pass) const;

  void forward(ResidualStream& stream, const Activations& activations, const Scratch& scratch,
               const Pass& pass) const;
  // `x` is the residual that entered post-norm, `branch_dropout` that of the branch which entered pre-norm.
  void backward(ResidualGradient& gradient, Tensor x_NC, Dropout branch_dropout,
                const Activations& activations, const Scratch& scratch, GradientReducer& reducer,
                const Pass& pass) const;

  // Before backward, of what wasn't kept: makes it again.  `x` as for backward.
  void recompute(Recompute mode, Tensor x_NC, const Activations& activations, const Scratch& scratch,
                 const Pass& pass) const;

  // The mask on the branch that this block leaves.
  Dropout mlp_dropout(const Pass& pass) const;

 private:
  // One sublayer, as it is seen by the norm that belongs to it.
  struct Joint {
    const ResidualNorm& norm;
    const ResidualNorm::Activations& activations;
    Dropout branch;  // of the sublayer's own branch
  };
  // Of own rows.
  Dropout mask(std::int64_t layer, DropoutSite site, const Pass& pass) const;
  Tensor own_rows_of(Tensor activation, const Pass& pass) const {
    return ranks_.own_rows_of(activation, pass.rows());
  }
  Joint attention_joint(const Activations& activations, const Pass& pass) const;
  Joint cross_joint(const Activations& activations, const Pass& pass) const;
  Joint mlp_joint(const Activations& activations, const Pass& pass) const;

  // All but the last.
  void forward_attentions(ResidualStream& stream, const Activations& activations, const Scratch& scratch,
                          const Pass& pass) const;
  // f(y, x)
  template <typename Sublayer>
  void forward_sublayer(ResidualStream& stream, const Joint& joint, Tensor branch_NC, const Pass& pass,
                        Sublayer f) const;
  // f(dx, dy, x), where `x` and `entering` are those of TransformerBlock::backward, of this sublayer.
  template <typename Sublayer>
  void backward_sublayer(ResidualGradient& gradient, const Joint& joint, Tensor x_NC, Dropout entering,
                         const Scratch& scratch, GradientReducer& reducer, const Pass& pass,
                         Sublayer f) const;

  const TensorRanks& ranks_;
  std::int64_t index_;
  std::int64_t layer_;
  std::int64_t cross_layer_;
  std::int64_t width_;
  NormPlacement placement_;
  ResidualNorm attention_norm_;
  SelfAttention attention_;
  std::optional<ResidualNorm> cross_norm_;
  std::optional<CrossAttention> cross_attention_;
  ResidualNorm mlp_norm_;
  Mlp mlp_;
};

}  // namespace trireme
