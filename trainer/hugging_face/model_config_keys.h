// The keys of config.json that say the same as our options: what reads a config and what writes one walk
// these.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "trainer/model/transformer_options.h"

namespace trireme {

// In the order of Architecture.
inline constexpr std::array<std::string_view, 4> kArchitectureNames = {"gpt2", "llama", "qwen2", "bert"};

// The words of `transformers` for an activation; of several for one, the first is written.
using ActivationName = std::pair<std::string_view, FeedForward>;
inline constexpr std::array<ActivationName, 6> kActivations = {{{"gelu_new", FeedForward::kGeluTanh},
                                                                {"gelu_pytorch_tanh", FeedForward::kGeluTanh},
                                                                {"gelu", FeedForward::kGelu},
                                                                {"relu", FeedForward::kRelu},
                                                                {"silu", FeedForward::kSilu},
                                                                {"swish", FeedForward::kSilu}}};
inline constexpr std::array<ActivationName, 3> kGatedActivations = {
    {{"silu", FeedForward::kSwiglu}, {"swish", FeedForward::kSwiglu}, {"gelu", FeedForward::kGeglu}}};

// Each key that says the same as one of our options, with its value where it may be left out.
struct Required {};
template <typename Options, typename Visit>
void for_each_field_of_gpt2(Options& options, Visit visit) {
  visit("vocab_size", options.vocabulary, Required());
  visit("n_positions", options.context, Required());
  visit("n_embd", options.width, Required());
  visit("n_layer", options.layers, Required());
  visit("n_head", options.heads, Required());
  visit("n_inner", options.feed_forward, 4 * options.width);
  visit("layer_norm_epsilon", options.norm_epsilon, 1e-5F);
  visit("initializer_range", options.init_stddev, 0.02F);
  visit("resid_pdrop", options.dropout, 0.1F);
  visit("attn_pdrop", options.attention_dropout, 0.1F);
  visit("tie_word_embeddings", options.tied_embeddings, true);
}

template <typename Options, typename Visit>
void for_each_field_of_llama(Options& options, Visit visit) {
  visit("vocab_size", options.vocabulary, Required());
  visit("max_position_embeddings", options.context, Required());
  visit("hidden_size", options.width, Required());
  visit("intermediate_size", options.feed_forward, Required());
  visit("num_hidden_layers", options.layers, Required());
  visit("num_attention_heads", options.heads, Required());
  visit("num_key_value_heads", options.kv_heads, options.heads);
  visit("head_dim", options.head_width, options.heads > 0 ? options.width / options.heads : 0);
  visit("rms_norm_eps", options.norm_epsilon, 1e-6F);
  visit("initializer_range", options.init_stddev, 0.02F);
  visit("attention_dropout", options.attention_dropout, 0.0F);
  visit("tie_word_embeddings", options.tied_embeddings, false);
}

template <typename Options, typename Visit>
void for_each_field_of_bert(Options& options, Visit visit) {
  visit("vocab_size", options.vocabulary, Required());
  visit("max_position_embeddings", options.context, Required());
  visit("hidden_size", options.width, Required());
  visit("intermediate_size", options.feed_forward, Required());
  visit("num_hidden_layers", options.layers, Required());
  visit("num_attention_heads", options.heads, Required());
  visit("type_vocab_size", options.token_types, std::int64_t{2});
  visit("layer_norm_eps", options.norm_epsilon, 1e-12F);
  visit("initializer_range", options.init_stddev, 0.02F);
  visit("hidden_dropout_prob", options.dropout, 0.1F);
  visit("attention_probs_dropout_prob", options.attention_dropout, 0.1F);
  visit("tie_word_embeddings", options.tied_embeddings, true);
}

// In the order of RopeScaling.
inline constexpr std::array<std::string_view, 4> kRopeTypes = {"default", "linear", "llama3", "yarn"};

// Of what stretches the wave lengths, if anything does.
template <typename Options, typename Visit>
void for_each_field_of_rope(Options& options, Visit visit) {
  if (options.rope_scaling == RopeScaling::kNone) return;
  visit("factor", options.rope_factor, Required());
  if (options.rope_scaling == RopeScaling::kLinear) return;
  visit("original_max_position_embeddings", options.rope_original_context, options.context);
  if (options.rope_scaling == RopeScaling::kLlama3) {
    visit("low_freq_factor", options.rope_low_frequency_factor, Required());
    visit("high_freq_factor", options.rope_high_frequency_factor, Required());
  } else {
    visit("beta_fast", options.rope_beta_fast, 32.0);
    visit("beta_slow", options.rope_beta_slow, 1.0);
    visit("attention_factor", options.rope_attention_factor, 0.0);
  }
}

}  // namespace trireme
