// Normalisation at a joint of the residual stream.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/arena.h"
#include "kernels/dropout.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "trainer/model/pass.h"
#include "trainer/model/tensor_ranks.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

// What runs from layer to layer: the residual stream, and the branch that the next norm will add to it (so
// that addition, dropout and norm are one pass over memory).
struct ResidualStream {
  Tensor residual_NC;
  Tensor branch_NC;  // empty before the first block
  Dropout dropout;   // of the branch
};

// The gradient of a ResidualStream.
struct ResidualGradient {
  Tensor dresidual_NC;
  Tensor dbranch_NC;  // dresidual's own memory where the branch has no dropout
};

// residual + dropout(branch), then normalised: weight [C], and of a layer norm bias [C].  Of own rows.
class ResidualNorm {
 public:
  struct Activations {
    Tensor sum_NC;
    Tensor y_NC;
    Tensor mean_N;  // of a layer norm
    Tensor rstd_N;  // one over the standard deviation, or the root mean square
  };

  ResidualNorm(ParameterBuffer& parameters, const std::string& name, const TransformerOptions& options,
               const TensorRanks& ranks = TensorRanks::alone());

  // With those of another, whose y it shares: see `recompute`.
  Activations allocate(Arena& arena, const PassLimits& limits, const Activations* shared = nullptr) const;

  // Returns the normalised sum.  `stream` goes on as the sum (pre-norm) or what is returned (post-norm),
  // without a branch.  REQUIRES: a stream that comes without a branch has its residual in the activations'
  // sum already.
  Tensor forward(ResidualStream& stream, const Activations& activations, const Pass& pass) const;

  // Makes y again from the sum.
  void recompute(const Activations& activations, const Pass& pass) const;

  // `gradient.dresidual` holds the gradient of the sum on entry, of the residual afterwards; `dbranch_memory`
  // is where the gradient of a branch with dropout may be put.  `dropout` is the branch's.
  void backward(ResidualGradient& gradient, Tensor dbranch_memory_NC, Tensor dy_NC,
                const Activations& activations, Dropout dropout, GradientReducer& reducer,
                const Pass& pass) const;

 private:
  bool is_layer_norm() const { return bias_ != nullptr; }
  Tensor mean(const Activations& activations, const Pass& pass) const;  // empty of an RMSNorm

  Parameter& add(ParameterBuffer& parameters, const std::string& name, std::int64_t width, float value) const;
  Tensor own_rows_of(Tensor activation, const Pass& pass) const {
    return ranks_.own_rows_of(activation, pass.rows());
  }

  const TensorRanks& ranks_;
  NormPlacement placement_;
  float epsilon_;
  const Parameter& weight_;
  const Parameter* bias_ = nullptr;
};

}  // namespace trireme
