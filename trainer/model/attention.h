// Multi-head self-attention.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/arena.h"
#include "kernels/attention.h"
#include "trainer/model/linear.h"
#include "trainer/model/pass.h"

namespace trireme {

// y = W_o attention(W_q x, W_k x, W_v x), causal; one projection makes queries, keys and values.
class SelfAttention {
 public:
  struct Activations {
    Tensor qkv_NG;  // G = 3 C: queries, keys, values, each [H, D]
    Tensor heads_NC;
    Tensor lse_NH;  // used as [B, H, T]
  };
  // Memory of the backward pass, free again after it; all layers share one.
  struct Scratch {
    Tensor dheads_NC;
    Tensor dqkv_NG;
  };

  // `layer` picks the dropout mask and the cache entry.  `out_stddev` is the initial spread of W_o, which
  // feeds the residual stream.
  SelfAttention(ParameterBuffer& parameters, const std::string& name, std::int64_t layer, std::int64_t width,
                std::int64_t heads, float init_stddev, float out_stddev);

  Activations allocate(Arena& arena, const PassLimits& limits) const;
  Scratch allocate_scratch(Arena& arena, const PassLimits& limits) const;

  void forward(Tensor y_NC, Tensor x_NC, const Activations& activations, const Pass& pass) const;
  void backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const;

 private:
  struct Heads {
    Tensor q_BTHD;
    Tensor k_BTHD;
    Tensor v_BTHD;
  };

  Heads split_heads(Tensor qkv_NG, const Pass& pass) const;
  AttentionOptions options(const Pass& pass) const;

  std::int64_t layer_;
  std::int64_t width_;
  std::int64_t heads_;
  Linear in_;
  Linear out_;
};

}  // namespace trireme
