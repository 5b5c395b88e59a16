// Multi-head self-attention.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/arena.h"
#include "kernels/attention.h"
#include "trainer/model/linear.h"
#include "trainer/model/pass.h"
#include "trainer/model/positions.h"

namespace trireme {

// y = W_o attention(W_q x, W_k x, W_v x), causal; one projection makes queries, keys and values.  Keys and
// values may have fewer heads than queries (Ainslie et al. 2023).
class SelfAttention {
 public:
  struct Activations {
    Tensor qkv_NG;    // G = (H + 2 K) D: queries [H, D], keys and values [K, D]
    Tensor heads_NE;  // E = H D
    Tensor lse_NH;    // used as [B, H, T]
  };
  // Memory of the backward pass, free again after it; all layers share one.
  struct Scratch {
    Tensor dheads_NE;
    Tensor dqkv_NG;
  };

  // `layer` picks the dropout mask and the cache entry.  `out_stddev` is the initial spread of W_o, which
  // feeds the residual stream.  `positions` must outlive the layer.
  SelfAttention(ParameterBuffer& parameters, const std::string& name, std::int64_t layer,
                const TransformerOptions& options, const PositionTables& positions, float out_stddev);

  Activations allocate(Arena& arena, const PassLimits& limits) const;
  Scratch allocate_scratch(Arena& arena, const PassLimits& limits) const;

  void forward(Tensor y_NC, Tensor x_NC, const Activations& activations, const Pass& pass) const;
  void backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const;

 private:
  struct Heads {
    Tensor q_BTHD;
    Tensor k_BTKD;
    Tensor v_BTKD;
  };

  Heads split_heads(Tensor qkv_NG, const Pass& pass) const;
  AttentionOptions options(const Pass& pass) const;

  std::int64_t qkv_width() const { return (heads_ + 2 * kv_heads_) * head_width_; }
  Tensor by_head(Tensor heads_NE, const Pass& pass) const;

  std::int64_t layer_;
  std::int64_t heads_;
  std::int64_t kv_heads_;
  std::int64_t head_width_;
  std::int64_t window_;
  const PositionTables& positions_;
  Linear in_;
  Linear out_;
};

}  // namespace trireme
