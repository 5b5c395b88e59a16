// One passage of a microbatch through the model.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/attention.h"
#include "kernels/dropout.h"
#include "kernels/rng.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"
#include "trainer/model/deferred_gradients.h"
#include "trainer/model/recompute.h"

namespace trireme {

class AttentionObserver;
struct LoopCount;

// Where a dropout mask is drawn: its number within a layer.  Layer -1 is what comes before the blocks.
enum class DropoutSite : std::uint64_t { kEmbedding, kAttention, kAttentionBranch, kMlpBranch, kNumSites };

// Makes the masks of a pass.  They depend on the seed, the step, the layer and site, and the sequence's place
// in the global batch, and so not on how the batch is cut into ranks and microbatches.
struct DropoutSource {
  float probability = 0.0F;            // 0: evaluation, or a model without dropout
  float attention_probability = 0.0F;  // of the weights by which attention adds up values
  std::uint64_t seed = 0;
  std::int64_t step = 0;
  std::int64_t first_sequence = 0;  // global index of the pass's first sequence
  std::int64_t loop = 0;            // of a looped stack

  // The mask of a tensor that holds `elements_per_sequence` elements of each sequence, sequences outermost.
  Dropout at(std::int64_t layer, DropoutSite site, std::int64_t elements_per_sequence) const {
    const float share = site == DropoutSite::kAttention ? attention_probability : probability;
    if (share == 0.0F) return {};
    constexpr auto kNumSites = static_cast<std::uint64_t>(DropoutSite::kNumSites);
    const std::uint64_t place =
        static_cast<std::uint64_t>(layer + 1) * kNumSites + static_cast<std::uint64_t>(site);
    const auto bits =
        philox(seed, static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(loop) << 32 | place);
    return {.probability = share,
            .key = std::uint64_t{bits[0]} << 32 | bits[1],
            .offset = static_cast<std::uint64_t>(first_sequence * elements_per_sequence)};
  }
};

// What a decoder's cross-attention sees: the output of the encoder.
struct Memory {
  std::int64_t batch = 0;     // sentences; a pass of more rows asks about each of them for as many in turn
  std::int64_t sequence = 0;  // S
  Tensor x_MC;                // M = batch S; not needed where the cache holds its keys and values
  Tensor dx_MC;               // its gradient, +=; only when training
  // As of AttentionOptions: T queries of one document, and of another the keys that are padding.
  Tensor query_documents_BT;
  Tensor documents_BS;
};

// Keys and values of the positions already seen, for generation.
struct KeyValueCache {
  struct Layer {
    Tensor keys_BSKD;
    Tensor values_BSKD;
  };
  std::vector<Layer> layers;       // by block; of a looped stack, by loop and then block
  std::int64_t length = 0;         // positions filled
  std::vector<Tensor> memory_BSG;  // G = 2 K D: keys and values of the pass's memory, by block
};

struct Pass {
  std::int64_t batch = 0;     // B, at most what the activations were allocated for
  std::int64_t sequence = 0;  // T
  DropoutSource dropout;
  KeyValueCache* cache = nullptr;  // the tokens continue what is cached; forward only
  const Memory* memory = nullptr;  // of blocks with cross-attention
  Tensor documents_BT;             // self-attention stays inside each; empty: one per sequence
  Tensor positions_BT;             // of the tokens, int32; empty: from 0 on, or from what is cached
  Tensor token_types_BT;           // of a model that has them; empty: all are of type 0
  float label_smoothing = 0.0F;    // of the targets
  Tensor cross_entropy_1;          // += the loss without it; may be empty
  float ponder_cost = 0.0F;        // of each loop of each position that halts by itself
  AttentionLibrary attention = AttentionLibrary::kTrireme;
  std::size_t slot = 0;           // where activations are kept for backward, of those that are allocated
  std::int64_t loop = 0;          // of a looped stack: the one that runs
  std::int64_t first_cached = 0;  // the cache entry of its first block
  bool defers_weights = false;    // backward leaves the gradients of the blocks' weights for later
  DeferredGradients* deferred = nullptr;            // of a linear layer's backward: where they then go
  AttentionObserver* attention_observer = nullptr;  // sees every attention of the forward pass
  LoopCount* loop_count = nullptr;                  // += those of positions that halt by themselves
  Stream stream;

  std::int64_t rows() const { return batch * sequence; }
  // The part of an activation, allocated for the largest pass, that this pass uses.
  Tensor rows_of(Tensor activation) const { return activation.slice(0, 0, rows()); }
  // Of a layer whose dy may be left in the first rows of this activation, if weights wait.
  Deferral deferral(Tensor activation) const {
    return deferred != nullptr ? Deferral{.queue = deferred, .dy_NO = activation} : Deferral();
  }
};

// What a model is allocated for.
struct PassLimits {
  std::int64_t batch = 0;
  std::int64_t sequence = 0;
  bool training = false;          // keep each layer's activations for the backward pass
  std::int64_t memory_rows = 0;   // M, of blocks with cross-attention
  DType dtype = DType::kFloat32;  // of activations; statistics and losses are float32 always
  std::size_t slots = 1;          // microbatches whose forward comes before the backward of an earlier one
  Recompute recompute = Recompute::kNone;
  // Keep what the gradients of the blocks' weights need until they are asked for.  With recomputation, which
  // keeps no operands, they are never deferred.
  bool deferred_weights = false;

  std::int64_t rows() const { return batch * sequence; }
};

}  // namespace trireme
