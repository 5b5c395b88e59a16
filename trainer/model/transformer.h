// A decoder-only Transformer language model: GPT-2 (Radford et al. 2019), Llama (Touvron et al. 2023) and
// what lies between, by its options.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/arena.h"
#include "kernels/buffer.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "trainer/model/loss.h"
#include "trainer/model/model_share.h"
#include "trainer/model/stack.h"
#include "trainer/model/tensor_ranks.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

class Transformer {
 public:
  // Parameters are allocated but not initialised: see ParameterBuffer::initialize, or load a checkpoint.
  explicit Transformer(const TransformerOptions& options,
                       ParameterMemory memory = ParameterMemory::kValuesAndGradients,
                       const ModelShare& share = {});

  const TransformerOptions& options() const { return options_; }
  ParameterBuffer& parameters() { return parameters_; }

  // Makes the activation memory of all passes up to these limits, in place of an earlier one.
  void allocate(const PassLimits& limits);

  // loss[0] += the cross-entropy, in nats, summed over the B T targets, smoothed as the pass says; and the
  // cost of pondering (see Halting::add_loss).
  void forward_loss(Tensor loss_1, Tensor tokens_BT, Tensor targets_BT, const Pass& pass);
  // Also adds the gradient of scale * (that sum) to the parameters' gradients.
  void forward_backward(Tensor loss_1, Tensor tokens_BT, Tensor targets_BT, float scale,
                        GradientReducer& reducer, const Pass& pass);
  // The logits [1, V] that follow the last of the tokens, valid until the next pass; appends to the pass's
  // cache. REQUIRES: B = 1.
  Tensor next_token_logits(Tensor tokens_BT, const Pass& pass);

  // Floating-point operations of one training step, per token: 6 for each weight that is multiplied, and for
  // each layer 12 H D for each key that a query sees, T / 2 of them on average under a causal mask (PaLM,
  // appendix B, with what is masked left out).  All loops are counted, also of positions that halt before.
  double flops_per_token(std::int64_t sequence) const;

 private:
  TransformerOptions options_;
  TensorRanks ranks_;
  ParameterBuffer parameters_;
  TransformerStack decoder_;
  LanguageModelLoss loss_;
  std::unique_ptr<Arena> arena_;
  Tensor dhidden_NC_;
};

// Memory for a cache of `context` positions.
class KeyValueCacheMemory {
 public:
  KeyValueCacheMemory(const TransformerOptions& options, std::int64_t batch);
  KeyValueCache& cache() { return cache_; }

 private:
  Buffer buffer_;
  KeyValueCache cache_;
};

}  // namespace trireme
