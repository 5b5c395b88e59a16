// The position-wise feed-forward network.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/arena.h"
#include "trainer/model/linear.h"
#include "trainer/model/pass.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

// Of all hidden units, or of those that gate the others.
Activation activation_of(FeedForward kind);

// y = W_2 a(W_1 x + b_1) + b_2, of inner width F.  Where the activation is gated (Shazeer 2020), W_1 x has 2
// F columns, and a(u, v) is the activation of the first half times the second.
class Mlp {
 public:
  struct Activations {
    Tensor preactivation_NG;  // G = F, or 2 F if gated; backward overwrites it then, and if weights wait
    Tensor hidden_NF;
    Tensor dy_NC;  // if weights wait
  };
  // Memory of the backward pass, free again after it; all layers share one.
  struct Scratch {
    Tensor dhidden_NF;
  };

  // `out_stddev` is the initial spread of W_2, which feeds the residual stream.
  Mlp(ParameterBuffer& parameters, const std::string& name, const TransformerOptions& options,
      float out_stddev, const TensorRanks& ranks = TensorRanks::alone());

  // With those of another, whose hidden units it shares: see `recompute`.
  Activations allocate(Arena& arena, const PassLimits& limits, const Activations* shared = nullptr) const;
  Scratch allocate_scratch(Arena& arena, const PassLimits& limits) const;

  void forward(Tensor y_NC, Tensor x_NC, const Activations& activations, const Pass& pass) const;
  // The part of forward that backward needs: all but the product with W_2.
  void forward_hidden(Tensor x_NC, const Activations& activations, const Pass& pass) const;
  // Makes the hidden units again from what they were before their activation.
  void recompute(const Activations& activations, const Pass& pass) const;

  void backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const;

 private:
  // Of this rank, among those of all.
  std::vector<FlatRange> preactivations(const TransformerOptions& options) const;
  std::int64_t preactivation_width() const { return is_gated_ ? 2 * units_.size() : units_.size(); }

  const TensorRanks& ranks_;
  std::int64_t width_;
  FlatRange units_;  // hidden ones, this rank's
  bool is_gated_;
  Activation activation_;
  Linear in_;
  Linear out_;
};

}  // namespace trireme
