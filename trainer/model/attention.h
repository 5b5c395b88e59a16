// Multi-head attention: to the sequence itself, and to the output of an encoder.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/arena.h"
#include "kernels/attention.h"
#include "trainer/model/attention_observer.h"
#include "trainer/model/linear.h"
#include "trainer/model/pass.h"
#include "trainer/model/positions.h"
#include "trainer/model/tensor_ranks.h"

namespace trireme {

// This rank's heads.
struct HeadShare {
  HeadShare(const TransformerOptions& options, const TensorRanks& ranks);

  // Rows of a projection to all heads: those of this rank's, of queries or keys, where the projection's
  // first are at row `first`.
  FlatRange rows(const FlatRange& which, std::int64_t first = 0) const {
    return {first + which.begin * head_width, first + which.end * head_width};
  }

  std::int64_t all_heads;
  std::int64_t head_width;
  FlatRange heads;
  FlatRange kv_heads;
};

// y = W_o attention(q, k, v): what both have in common.  Keys and values may have fewer heads than queries
// (Ainslie et al. 2023).
class HeadAttention {
 public:
  struct Activations {
    Tensor heads_NE;  // E = H D
    Tensor lse_NH;    // used as [B, H, T]
    Tensor dy_NC;     // if weights wait
  };
  // Memory of the backward pass, free again after it; all layers share one.
  struct Scratch {
    Tensor dheads_NE;
  };
  struct Heads {
    Tensor q_BTHD;
    Tensor k_BSKD;
    Tensor v_BSKD;
  };

  // `layer` picks the dropout mask.  `out_stddev` is the initial spread of W_o, which feeds the residual
  // stream.
  HeadAttention(ParameterBuffer& parameters, const std::string& name, std::int64_t layer, AttentionKind kind,
                const TransformerOptions& options, float out_stddev, const TensorRanks& ranks);

  Activations allocate(Arena& arena, const PassLimits& limits) const;
  Scratch allocate_scratch(Arena& arena, const PassLimits& limits) const;

  // `mask` says who sees whom; scale and dropout are set here.
  void forward(Tensor y_NC, const Heads& heads, AttentionOptions mask, const Activations& activations,
               const Pass& pass) const;
  // `dheads` are overwritten.
  void backward(const Heads& dheads, Tensor dy_NC, const Heads& heads, AttentionOptions mask,
                const Activations& activations, const Scratch& scratch, GradientReducer& reducer,
                const Pass& pass) const;

 private:
  AttentionOptions completed(AttentionOptions mask, const Heads& heads, const Pass& pass) const;

  const TensorRanks& ranks_;
  std::int64_t layer_;
  AttentionKind kind_;
  std::int64_t width_;
  HeadShare share_;
  std::int64_t head_width_;
  Linear out_;
};

// One projection makes queries, keys and values of x.
class SelfAttention {
 public:
  struct Activations {
    Tensor qkv_NG;  // G = (H + 2 K) D: queries [H, D], keys and values [K, D]; if weights wait overwritten
    HeadAttention::Activations heads;
  };
  struct Scratch {
    Tensor dqkv_NG;
    HeadAttention::Scratch heads;
  };

  // `layer` also picks the cache entry.  `positions` must outlive the layer.
  SelfAttention(ParameterBuffer& parameters, const std::string& name, std::int64_t layer, bool causal,
                const TransformerOptions& options, const PositionTables& positions, float out_stddev,
                const TensorRanks& ranks = TensorRanks::alone());

  Activations allocate(Arena& arena, const PassLimits& limits) const;
  Scratch allocate_scratch(Arena& arena, const PassLimits& limits) const;

  void forward(Tensor y_NC, Tensor x_NC, const Activations& activations, const Pass& pass) const;
  void backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const;

 private:
  HeadAttention::Heads split_heads(Tensor qkv_NG, const Pass& pass) const;
  AttentionOptions mask(const Pass& pass) const;
  std::int64_t qkv_width() const { return (heads_ + 2 * kv_heads_) * head_width_; }

  std::int64_t layer_;
  bool causal_;
  HeadShare share_;
  std::int64_t heads_;
  std::int64_t kv_heads_;
  std::int64_t head_width_;
  std::int64_t window_;
  const PositionTables& positions_;
  Linear in_;
  HeadAttention attention_;
};

// Queries are made of x, keys and values of the pass's memory, all of which every query sees: no window, and
// no positions but those that the memory holds; with the option cross_positions rope also turns queries by
// their places in the target and keys by theirs in the source, so that a score knows how far they are apart.
class CrossAttention {
 public:
  struct Activations {
    Tensor q_NE;   // both are overwritten by backward if weights wait
    Tensor kv_MG;  // G = 2 K D: keys, then values
    HeadAttention::Activations heads;
  };
  struct Scratch {
    Tensor dq_NE;
    Tensor dkv_MG;
    Tensor dmemory_MC;
    HeadAttention::Scratch heads;
  };

  // `layer` picks the dropout mask, `block` the cache entry.  `positions` must outlive the layer.
  CrossAttention(ParameterBuffer& parameters, const std::string& name, std::int64_t layer, std::int64_t block,
                 const TransformerOptions& options, const PositionTables& positions, float out_stddev,
                 const TensorRanks& ranks = TensorRanks::alone());

  Activations allocate(Arena& arena, const PassLimits& limits) const;
  Scratch allocate_scratch(Arena& arena, const PassLimits& limits) const;

  // The keys and values of a memory, for a cache: with one, forward takes them from there.
  void project_memory(Tensor kv_BSG, const Memory& memory, Stream stream) const;

  void forward(Tensor y_NC, Tensor x_NC, const Activations& activations, const Pass& pass) const;
  // The memory's gradient +=.
  void backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const;

 private:
  HeadAttention::Heads split_heads(Tensor q_NE, Tensor kv_MG, const Memory& memory) const;
  // Queries as their places in the target are counted: hypotheses that share a memory stand at one.
  Tensor queries_by_position(Tensor q_NE, const Pass& pass) const;
  std::int64_t query_width() const { return heads_ * head_width_; }
  std::int64_t kv_width() const { return 2 * kv_heads_ * head_width_; }

  const TensorRanks& ranks_;
  std::int64_t block_;
  std::int64_t width_;
  HeadShare share_;
  std::int64_t heads_;
  std::int64_t kv_heads_;
  std::int64_t head_width_;
  const PositionTables* positions_;  // none without the option
  Linear query_;
  Linear key_value_;
  HeadAttention attention_;
};

}  // namespace trireme
