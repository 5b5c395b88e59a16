// One pre-norm Transformer block.
#pragma once

#include <cstdint>
#include <string>

#include "trainer/model/attention.h"
#include "trainer/model/mlp.h"
#include "trainer/model/norm.h"

namespace trireme {

//     r += attention(norm(r));  r += mlp(norm(r))
//
// Each addition is left as the stream's branch to the norm that follows.
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
    Tensor dy_NC;
    SelfAttention::Scratch attention;
    Mlp::Scratch mlp;
  };

  TransformerBlock(ParameterBuffer& parameters, std::int64_t layer, std::int64_t width, std::int64_t heads,
                   std::int64_t feed_forward, float init_stddev, float out_stddev);

  Activations allocate(Arena& arena, const PassLimits& limits) const;
  Scratch allocate_scratch(Arena& arena, const PassLimits& limits) const;

  void forward(ResidualStream& stream, const Activations& activations, const Scratch& scratch,
               const Pass& pass) const;
  // `branch_dropout` is that of the branch which entered with the stream.
  void backward(ResidualGradient& gradient, Dropout branch_dropout, const Activations& activations,
                const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const;

  // The mask on the branch that this block leaves.
  Dropout mlp_dropout(const Pass& pass) const;

 private:
  Dropout attention_dropout(const Pass& pass) const;

  std::int64_t layer_;
  std::int64_t width_;
  ResidualNorm attention_norm_;
  SelfAttention attention_;
  ResidualNorm mlp_norm_;
  Mlp mlp_;
};

}  // namespace trireme
