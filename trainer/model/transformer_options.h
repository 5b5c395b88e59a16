// What a Transformer looks like: all that is needed to build it anew from a checkpoint.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "parallel/layer_partition.h"
#include "trainer/config.h"

namespace trireme {

// The choices that make one Transformer another.  Config and checkpoints name them by kNamesOf.
enum class NormKind : std::uint8_t { kLayer, kRms };
enum class NormPlacement : std::uint8_t {
  kPre,   // r += f(norm(r)), and a norm at the end: GPT-2, Llama
  kPost,  // r = norm(r + f(r)): the paper, BERT
};
enum class FeedForward : std::uint8_t { kGeluTanh, kGelu, kRelu, kSilu, kSwiglu, kGeglu };
enum class Positions : std::uint8_t { kLearned, kSinusoidal, kRope, kAlibi, kNone };
// How the wave lengths under kRope are stretched: rope_frequencies.h.
enum class RopeScaling : std::uint8_t { kNone, kLinear, kLlama3, kYarn };
// Which linear layers have them: all, the projection to queries, keys and values alone (Qwen2), or none
// (Llama).
enum class Biases : std::uint8_t { kAll, kQkv, kNone };

enum class ModelKind : std::uint8_t { kDecoder, kEncoderDecoder, kEncoder };

// Names of a choice's values, in their order.
template <typename Choice>
inline constexpr std::array<std::string_view, 0> kNamesOf{};
template <>
inline constexpr std::array<std::string_view, 2> kNamesOf<NormKind> = {"layer", "rms"};
template <>
inline constexpr std::array<std::string_view, 2> kNamesOf<NormPlacement> = {"pre", "post"};
template <>
inline constexpr std::array<std::string_view, 6> kNamesOf<FeedForward> = {"gelu_tanh", "gelu",   "relu",
                                                                          "silu",      "swiglu", "geglu"};
template <>
inline constexpr std::array<std::string_view, 5> kNamesOf<Positions> = {"learned", "sinusoidal", "rope",
                                                                        "alibi", "none"};
template <>
inline constexpr std::array<std::string_view, 4> kNamesOf<RopeScaling> = {"none", "linear", "llama3", "yarn"};
template <>
inline constexpr std::array<std::string_view, 3> kNamesOf<Biases> = {"all", "qkv", "none"};

template <>
inline constexpr std::array<std::string_view, 3> kNamesOf<ModelKind> = {"decoder", "encoder_decoder",
                                                                        "encoder"};

// One half of the hidden units gates the other.
constexpr bool is_gated(FeedForward kind) {
  return kind == FeedForward::kSwiglu || kind == FeedForward::kGeglu;
}

// The defaults are GPT-2's.
struct TransformerOptions {
  ModelKind kind = ModelKind::kDecoder;
  std::int64_t layers = 0;          // of the decoder, or of an encoder alone
  std::int64_t encoder_layers = 0;  // of an encoder-decoder
  std::int64_t width = 0;           // C
  std::int64_t heads = 0;           // H
  std::int64_t kv_heads = 0;        // K; divides H
  std::int64_t head_width = 0;      // D
  std::int64_t feed_forward = 0;    // F
  std::int64_t loops = 1;           // how often each stack is applied; with halting, the most
  bool halting = false;             // each position decides how often
  float halting_threshold = 0.99F;  // 1 - epsilon
  std::int64_t context = 0;         // longest T
  std::int64_t vocabulary = 0;      // V
  NormKind norm = NormKind::kLayer;
  NormPlacement norm_placement = NormPlacement::kPre;
  float norm_epsilon = 1e-5F;
  FeedForward activation = FeedForward::kGeluTanh;
  Biases biases = Biases::kAll;
  Positions positions = Positions::kLearned;
  double rope_theta = 10000.0;
  bool cross_positions = false;  // rope in cross-attention, too
  RopeScaling rope_scaling = RopeScaling::kNone;
  double rope_factor = 1.0;                 // times as long
  std::int64_t rope_original_context = 0;   // of llama3 and yarn: L of the training before
  double rope_low_frequency_factor = 1.0;   // of llama3
  double rope_high_frequency_factor = 4.0;  // of llama3
  double rope_beta_fast = 32.0;             // of yarn
  double rope_beta_slow = 1.0;              // of yarn
  double rope_attention_factor = 0.0;       // of yarn: amplitude of queries and keys; 0: 0.1 ln factor + 1
  std::int64_t window = 0;                  // of attention; 0: all positions
  bool tied_embeddings = true;        // the output layer is the token table, the decoder's if there are two
  bool tied_source_embedding = true;  // the encoder's token table is the decoder's
  bool embedding_norm = false;        // normalise the sum of embeddings: BERT
  std::int64_t token_types = 0;       // that have embeddings of their own (BERT's segments); 0: none
  bool output_transform = false;      // a dense layer, activation and norm before the output layer: BERT
  bool output_bias = false;           // of the output layer, one for each token
  float init_stddev = 0.0F;
  // Not part of the model's shape: a checkpoint may go on with another one.
  float dropout = 0.0F;
  float attention_dropout = 0.0F;

  // `vocabulary` is the tokenizer's.  Throws UserError when the config's is smaller.
  static TransformerOptions from_config(const ModelConfig& config, std::int64_t vocabulary);
  // Cache entries that the decoder's self-attentions have.
  std::int64_t cached_layers() const { return loops * layers; }

  // As stored in a checkpoint; what a checkpoint of an earlier version doesn't name is GPT-2's.  Throws
  // UserError naming `source` and the key that is missing or wrong.
  static TransformerOptions from_json(const std::string& json, const std::string& source);
  std::string to_json() const;
};

// One of a model's stacks of blocks.
struct StackOptions {
  std::string prefix = {};        // of its parameters' names
  std::string table_prefix = {};  // of the token table's, if it is another one
  std::int64_t layers = 0;
  LayerRange part = {};  // the layers that are here, and not on another stage of a pipeline; empty: all
  // Of the first block; the others follow, and then, one for each block, their cross-attentions.  By these
  // numbers dropout masks differ, and a cache has its entries.  That of the embeddings is one less.
  std::int64_t first_layer = 0;
  bool causal = true;
  bool cross_attention = false;
};

}  // namespace trireme
