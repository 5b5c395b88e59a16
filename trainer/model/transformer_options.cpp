#include "trainer/model/transformer_options.h"

#include <algorithm>
#include <type_traits>

#include <glog/logging.h>

#include "data/json.h"

namespace trireme {
namespace {

template <typename Choice>
std::string_view name_of(Choice choice) {
  return kNamesOf<Choice>[static_cast<std::size_t>(choice)];
}

template <typename Choice>
bool parse_choice(std::string_view name, Choice& choice) {
  const auto& names = kNamesOf<Choice>;
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return false;
  choice = static_cast<Choice>(found - names.begin());
  return true;
}

// A config has been checked.
template <typename Choice>
Choice choice_of(const std::string& name) {
  Choice choice{};
  CHECK(parse_choice(name, choice)) << name;
  return choice;
}

// The keys under which the options are stored, each with its member.
template <typename Options, typename Visit>
void for_each_option(Options& options, Visit visit) {
  visit("layers", options.layers);
  visit("width", options.width);
  visit("heads", options.heads);
  visit("feed_forward", options.feed_forward);
  visit("context", options.context);
  visit("vocabulary", options.vocabulary);
  visit("init_stddev", options.init_stddev);
  visit("dropout", options.dropout);
}

// Those that the first checkpoints don't have.
template <typename Options, typename Visit>
void for_each_later_option(Options& options, Visit visit) {
  visit("kv_heads", options.kv_heads);
  visit("head_width", options.head_width);
  visit("norm", options.norm);
  visit("norm_placement", options.norm_placement);
  visit("norm_epsilon", options.norm_epsilon);
  visit("activation", options.activation);
  visit("biases", options.biases);
  visit("positions", options.positions);
  visit("rope_theta", options.rope_theta);
  visit("window", options.window);
  visit("tied_embeddings", options.tied_embeddings);
  visit("attention_dropout", options.attention_dropout);
}

template <typename Options, typename Visit>
void for_each_encoder_option(Options& options, Visit visit) {
  visit("kind", options.kind);
  visit("encoder_layers", options.encoder_layers);
  visit("tied_source_embedding", options.tied_source_embedding);
  visit("cross_positions", options.cross_positions);
}

// Of a model that stretches its wave lengths.
template <typename Options, typename Visit>
void for_each_rope_scaling_option(Options& options, Visit visit) {
  visit("rope_scaling", options.rope_scaling);
  visit("rope_factor", options.rope_factor);
  visit("rope_original_context", options.rope_original_context);
  visit("rope_low_frequency_factor", options.rope_low_frequency_factor);
  visit("rope_high_frequency_factor", options.rope_high_frequency_factor);
  visit("rope_beta_fast", options.rope_beta_fast);
  visit("rope_beta_slow", options.rope_beta_slow);
  visit("rope_attention_factor", options.rope_attention_factor);
}

// Those of a model with loops.
template <typename Options, typename Visit>
void for_each_loop_option(Options& options, Visit visit) {
  visit("loops", options.loops);
  visit("halting", options.halting);
  visit("halting_threshold", options.halting_threshold);
}

// Those that are stored only where they are not as in TransformerOptions(): a checkpoint that was written
// before they came goes on.
template <typename Options, typename Visit>
void for_each_rare_option(Options& options, Visit visit) {
  visit("embedding_norm", options.embedding_norm, false);
  visit("token_types", options.token_types, std::int64_t{0});
  visit("output_transform", options.output_transform, false);
  visit("output_bias", options.output_bias, false);
}

template <typename Member>
void read(const Json& json, const char* key, const std::string& source, Member& member) {
  if constexpr (std::is_enum_v<Member>) {
    const auto name = json_value<std::string>(json, key, source);
    if (parse_choice(name, member)) return;
    throw UserError(source,
                    std::string("key '") + key + "' is '" + name + "', which this version doesn't know",
                    "use the version of trireme that wrote it");
  } else {
    using Stored = std::conditional_t<std::is_floating_point_v<Member>, double,
                                      std::conditional_t<std::is_same_v<Member, bool>, bool, std::int64_t>>;
    member = static_cast<Member>(json_value<Stored>(json, key, source));
  }
}

std::int64_t default_feed_forward(std::int64_t width, FeedForward activation) {
  if (!is_gated(activation)) return 4 * width;
  // Three matrices instead of two: as many weights, at a width that suits the hardware.
  return (8 * width / 3 + 63) / 64 * 64;
}

}  // namespace

TransformerOptions TransformerOptions::from_config(const ModelConfig& config, std::int64_t vocabulary) {
  if (config.vocabulary > 0 && config.kind == name_of(ModelKind::kEncoderDecoder))
    throw UserError("model.vocabulary", "is for models other than an encoder_decoder", "leave it out");
  if (config.vocabulary > 0 && config.vocabulary < vocabulary) {
    throw UserError("model.vocabulary",
                    "is " + std::to_string(config.vocabulary) + ", but the data have " +
                        std::to_string(vocabulary) + " different tokens",
                    "set it to 0, or prepare the data with the model's own tokenizer");
  }
  TransformerOptions options{
      .kind = choice_of<ModelKind>(config.kind),
      .layers = config.layers,
      .encoder_layers = config.encoder_layers > 0 ? config.encoder_layers : config.layers,
      .width = config.width,
      .heads = config.heads,
      .kv_heads = config.kv_heads > 0 ? config.kv_heads : config.heads,
      .head_width = config.head_width > 0 ? config.head_width : config.width / config.heads,
      .feed_forward = config.feed_forward,
      .loops = config.loops,
      .halting = config.halting,
      .halting_threshold = static_cast<float>(config.halting_threshold),
      .context = config.context,
      .vocabulary = config.vocabulary > 0 ? config.vocabulary : vocabulary,
      .norm = choice_of<NormKind>(config.norm),
      .norm_placement = choice_of<NormPlacement>(config.norm_placement),
      .norm_epsilon = static_cast<float>(config.norm_epsilon),
      .activation = choice_of<FeedForward>(config.activation),
      .biases = choice_of<Biases>(config.biases),
      .positions = choice_of<Positions>(config.positions),
      .rope_theta = config.rope_theta,
      .cross_positions = config.cross_positions,
      .rope_scaling = choice_of<RopeScaling>(config.rope_scaling),
      .rope_factor = config.rope_factor,
      .rope_original_context = config.rope_original_context,
      .rope_low_frequency_factor = config.rope_low_frequency_factor,
      .rope_high_frequency_factor = config.rope_high_frequency_factor,
      .rope_beta_fast = config.rope_beta_fast,
      .rope_beta_slow = config.rope_beta_slow,
      .rope_attention_factor = config.rope_attention_factor,
      .window = config.window,
      .tied_embeddings = config.tied_embeddings,
      .tied_source_embedding = config.tied_source_embedding,
      .embedding_norm = config.embedding_norm,
      .token_types = config.token_types,
      .output_transform = config.output_transform,
      .output_bias = config.output_bias,
      .init_stddev = static_cast<float>(config.init_stddev),
      .dropout = static_cast<float>(config.dropout),
      .attention_dropout =
          static_cast<float>(config.attention_dropout < 0.0 ? config.dropout : config.attention_dropout)};
  if (options.feed_forward == 0)
    options.feed_forward = default_feed_forward(options.width, options.activation);
  return options;
}

TransformerOptions TransformerOptions::from_json(const std::string& json, const std::string& source) {
  TransformerOptions options;
  const Json parsed = parse_json(json, source);
  for_each_option(options, [&](const char* key, auto& member) { read(parsed, key, source, member); });
  options.kv_heads = options.heads;
  options.head_width = options.heads > 0 ? options.width / options.heads : 0;
  options.attention_dropout = options.dropout;
  const auto read_if_there = [&](const char* key, auto& member) {
    if (parsed.contains(key)) read(parsed, key, source, member);
  };
  for_each_later_option(options, read_if_there);
  for_each_rope_scaling_option(options, read_if_there);
  for_each_encoder_option(options, read_if_there);
  for_each_loop_option(options, read_if_there);
  for_each_rare_option(options,
                       [&](const char* key, auto& member, const auto&) { read_if_there(key, member); });
  return options;
}

std::string TransformerOptions::to_json() const {
  Json json;
  const auto write = [&](const char* key, const auto& member) {
    if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(member)>>) {
      json[key] = name_of(member);
    } else {
      json[key] = member;
    }
  };
  for_each_option(*this, write);
  for_each_later_option(*this, write);
  if (rope_scaling != RopeScaling::kNone) for_each_rope_scaling_option(*this, write);
  if (kind == ModelKind::kEncoderDecoder) for_each_encoder_option(*this, write);
  if (loops > 1) for_each_loop_option(*this, write);
  if (kind == ModelKind::kEncoder) write("kind", kind);
  for_each_rare_option(*this, [&](const char* key, const auto& member, const auto& usual) {
    if (member != usual) write(key, member);
  });
  return json.dump();
}

}  // namespace trireme
