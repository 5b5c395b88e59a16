#include <algorithm>
#include <array>
#include <string>
#include <type_traits>
#include <utility>

#include "data/json.h"
#include "data/user_error.h"
#include "trainer/config_keys.h"
#include "trainer/hugging_face/model_config.h"
#include "trainer/hugging_face/model_config_keys.h"

namespace trireme {
namespace {

// Keys that must have this value, where they are there at all.
using FixedValue = std::pair<const char*, bool>;
constexpr std::array<FixedValue, 3> kFixedOfGpt2 = {{{"scale_attn_weights", true},
                                                     {"scale_attn_by_inverse_layer_idx", false},
                                                     {"add_cross_attention", false}}};

constexpr std::array<FixedValue, 2> kFixedOfBert = {{{"is_decoder", false}, {"add_cross_attention", false}}};
// What has the head that fills in; without it an encoder is a BertModel.
constexpr std::array<std::string_view, 2> kWithHead = {"BertForMaskedLM", "BertForPreTraining"};

// Sizes are held to the bounds of the key of our configs that says the same.
using SizeKey = std::pair<std::int64_t TransformerOptions::*, std::string_view>;
constexpr std::array<SizeKey, 10> kSizes = {
    {{&TransformerOptions::vocabulary, "model.vocabulary"},
     {&TransformerOptions::context, "model.context"},
     {&TransformerOptions::width, "model.width"},
     {&TransformerOptions::layers, "model.layers"},
     {&TransformerOptions::heads, "model.heads"},
     {&TransformerOptions::kv_heads, "model.kv_heads"},
     {&TransformerOptions::head_width, "model.head_width"},
     {&TransformerOptions::feed_forward, "model.feed_forward"},
     {&TransformerOptions::token_types, "model.token_types"},
     {&TransformerOptions::rope_original_context, "model.rope_original_context"}}};

// What config.json says.
class Reader {
 public:
  Reader(const Json& json, const std::string& where) : json_(json), where_(where) {}

  [[noreturn]] void refuse(const std::string& key, const std::string& remedy = "") const {
    const std::string value = json_[key].dump();
    throw UserError(where_,
                    "'" + key + "' is " + (value.size() > 80 ? value.substr(0, 80) + "..." : value) +
                        ", which is not supported",
                    remedy);
  }
  // transformers writes null for what has its default.
  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  template <typename T>
  T value(const char* key, T if_missing) const {
    return has(key) ? json_value<T>(json_, key, where_) : if_missing;
  }

  HuggingFaceModel read() const {
    const auto type = json_value<std::string>(json_, "model_type", where_);
    const auto found = std::find(kArchitectureNames.begin(), kArchitectureNames.end(), type);
    if (found == kArchitectureNames.end()) {
      std::string known;
      for (const std::string_view name : kArchitectureNames)
        known.append(known.empty() ? "" : ", ").append(name);
      throw UserError(where_, "'model_type' is \"" + type + "\", an architecture that is not supported",
                      "supported are " + known);
    }
    if (has("quantization_config")) refuse("quantization_config", "save the model with whole weights");
    const auto architecture = static_cast<Architecture>(found - kArchitectureNames.begin());
    HuggingFaceModel model{.architecture = architecture,
                           .options = architecture == Architecture::kGpt2   ? read_gpt2()
                                      : architecture == Architecture::kBert ? read_bert()
                                                                            : read_llama(architecture)};
    check_sizes(model.options);
    return model;
  }

 private:
  template <typename Member, typename Default>
  void read_field(const char* key, Member& member, Default if_missing) const {
    using Stored = std::conditional_t<std::is_floating_point_v<Member>, double, Member>;
    if constexpr (std::is_same_v<Default, Required>) {
      member = static_cast<Member>(json_value<Stored>(json_, key, where_));
    } else {
      member = static_cast<Member>(value<Stored>(key, if_missing));
    }
  }
  // Each size is checked at once: defaults are products of those before.
  auto reading(const TransformerOptions& options) const {
    return [this, &options](const char* key, auto& member, auto if_missing) {
      read_field(key, member, if_missing);
      if constexpr (std::is_same_v<decltype(member), std::int64_t&>) check_size(key, options, member);
    };
  }
  void check_size(const char* key, const TransformerOptions& options, const std::int64_t& size) const {
    const auto found = std::find_if(kSizes.begin(), kSizes.end(),
                                    [&](const SizeKey& one) { return &(options.*one.first) == &size; });
    if (found == kSizes.end()) return;
    const auto most = static_cast<std::int64_t>(config_key(found->second).rule.high);
    if (size >= 1 && size <= most) return;
    throw UserError(where_,
                    std::string("'") + key + "' is " + (has(key) ? json_[key].dump() : std::to_string(size)) +
                        ", and must be from 1 to " + std::to_string(most),
                    "fetch or write it again");
  }

  template <std::size_t kCount>
  FeedForward activation(const char* key, const std::array<ActivationName, kCount>& names) const {
    const auto name = json_value<std::string>(json_, key, where_);
    const auto found =
        std::find_if(names.begin(), names.end(), [&](const auto& n) { return n.first == name; });
    if (found == names.end()) refuse(key);
    return found->second;
  }

  TransformerOptions read_gpt2() const {
    for (const auto& [key, wanted] : kFixedOfGpt2) {
      if (value<bool>(key, wanted) != wanted) refuse(key);
    }
    TransformerOptions options;
    for_each_field_of_gpt2(options, reading(options));
    options.kv_heads = options.heads;
    options.head_width = options.heads > 0 ? options.width / options.heads : 0;
    options.activation = activation("activation_function", kActivations);
    return options;
  }

  TransformerOptions read_bert() const {
    for (const auto& [key, wanted] : kFixedOfBert) {
      if (value<bool>(key, wanted) != wanted) refuse(key);
    }
    if (value<std::string>("position_embedding_type", "absolute") != "absolute")
      refuse("position_embedding_type");
    TransformerOptions options;
    options.kind = ModelKind::kEncoder;
    for_each_field_of_bert(options, reading(options));
    options.kv_heads = options.heads;
    options.head_width = options.heads > 0 ? options.width / options.heads : 0;
    options.norm_placement = NormPlacement::kPost;
    options.activation = activation("hidden_act", kActivations);
    options.embedding_norm = true;
    const auto architectures = value<Json>("architectures", Json::array());
    const bool has_head = std::any_of(architectures.begin(), architectures.end(), [](const Json& name) {
      return std::find(kWithHead.begin(), kWithHead.end(), name) != kWithHead.end();
    });
    options.output_transform = options.output_bias = has_head;
    if (!has_head) options.tied_embeddings = true;  // there is nothing to untie
    return options;
  }

  TransformerOptions read_llama(Architecture architecture) const {
    TransformerOptions options;
    for_each_field_of_llama(options, reading(options));
    options.norm = NormKind::kRms;
    options.activation = activation("hidden_act", kGatedActivations);
    options.positions = Positions::kRope;
    read_rope(options);
    if (architecture == Architecture::kQwen2) {
      options.biases = Biases::kQkv;
      options.window = window(options);
      return options;
    }
    const bool has_biases = value("attention_bias", false);
    if (has_biases != value("mlp_bias", false)) refuse(has_biases ? "attention_bias" : "mlp_bias");
    options.biases = has_biases ? Biases::kAll : Biases::kNone;
    return options;
  }

  // "rope_parameters" since version 5 of transformers, "rope_theta" and "rope_scaling" before.
  void read_rope(TransformerOptions& options) const {
    if (value("partial_rotary_factor", 1.0) != 1.0) refuse("partial_rotary_factor");
    options.rope_theta = value("rope_theta", 10000.0);
    for (const char* key : {"rope_parameters", "rope_scaling"}) {
      if (!has(key)) continue;
      const Reader rope(json_[key], where_);
      const auto type = rope.value("rope_type", rope.value<std::string>("type", "default"));
      const auto found = std::find(kRopeTypes.begin(), kRopeTypes.end(), type);
      if (found == kRopeTypes.end()) refuse(key);
      if (rope.value("partial_rotary_factor", 1.0) != 1.0 || !rope.value("truncate", true)) refuse(key);
      if (rope.has("mscale") || rope.has("mscale_all_dim")) refuse(key);
      options.rope_theta = rope.value("rope_theta", options.rope_theta);
      options.rope_scaling = static_cast<RopeScaling>(found - kRopeTypes.begin());
      for_each_field_of_rope(options, rope.reading(options));
      const bool is_sound =
          options.rope_factor >= 1.0 &&
          (options.rope_scaling < RopeScaling::kLlama3 || options.rope_original_context > 0) &&
          options.rope_low_frequency_factor < options.rope_high_frequency_factor &&
          options.rope_beta_slow < options.rope_beta_fast;
      if (!is_sound) refuse(key);
      return;
    }
  }

  // Of Qwen2: "layer_types" or, in older files, the layers from max_window_layers on have one.
  std::int64_t window(const TransformerOptions& options) const {
    if (has("layer_types")) {
      const Json types = json_value<Json>(json_, "layer_types", where_);
      for (const Json& type : types) {
        if (type != types[0] || (type != "full_attention" && type != "sliding_attention"))
          refuse("layer_types");
      }
      if (types.empty() || types[0] == "full_attention") return 0;
    } else {
      const std::int64_t full_layers = value<std::int64_t>("max_window_layers", 28);
      if (!value("use_sliding_window", false) || !has("sliding_window") || full_layers >= options.layers)
        return 0;
      if (full_layers > 0) refuse("max_window_layers", "only 0 is, where all layers have the window");
    }
    return json_value<std::int64_t>(json_, "sliding_window", where_);
  }

  void check_sizes(const TransformerOptions& options) const {
    const auto fail = [&](const std::string& what) {
      throw UserError(where_, what, "fetch or write it again");
    };
    if (options.heads % options.kv_heads != 0) {
      fail("has " + std::to_string(options.heads) + " heads, which " + std::to_string(options.kv_heads) +
           " of keys and values don't divide");
    }
    if (options.positions == Positions::kLearned && options.heads * options.head_width != options.width) {
      fail("has " + std::to_string(options.heads) + " heads, which don't divide its width, " +
           std::to_string(options.width));
    }
    if (options.positions == Positions::kRope && options.head_width % 2 != 0)
      fail("has heads of the odd width " + std::to_string(options.head_width));
  }

  const Json& json_;
  const std::string& where_;
};

}  // namespace

HuggingFaceModel parse_model_config(const std::string& text, const std::string& where) {
  const Json json = parse_json(text, where);
  return Reader(json, where).read();
}

}  // namespace trireme
