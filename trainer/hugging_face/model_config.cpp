#include "trainer/hugging_face/model_config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <type_traits>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "data/json.h"
#include "data/user_error.h"

namespace trireme {
namespace {

// In the order of Architecture.
constexpr std::array<std::string_view, 4> kNames = {"gpt2", "llama", "qwen2", "bert"};
constexpr std::int64_t kLargestSize = 1 << 24;  // of any one of a model's sizes

// The words of `transformers` for an activation; of several for one, the first is written.
using ActivationName = std::pair<std::string_view, FeedForward>;
constexpr std::array<ActivationName, 6> kActivations = {{{"gelu_new", FeedForward::kGeluTanh},
                                                         {"gelu_pytorch_tanh", FeedForward::kGeluTanh},
                                                         {"gelu", FeedForward::kGelu},
                                                         {"relu", FeedForward::kRelu},
                                                         {"silu", FeedForward::kSilu},
                                                         {"swish", FeedForward::kSilu}}};
constexpr std::array<ActivationName, 3> kGatedActivations = {
    {{"silu", FeedForward::kSwiglu}, {"swish", FeedForward::kSwiglu}, {"gelu", FeedForward::kGeglu}}};

// Keys that must have this value, where they are there at all.
using FixedValue = std::pair<const char*, bool>;
constexpr std::array<FixedValue, 3> kFixedOfGpt2 = {{{"scale_attn_weights", true},
                                                     {"scale_attn_by_inverse_layer_idx", false},
                                                     {"add_cross_attention", false}}};

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

constexpr std::array<FixedValue, 2> kFixedOfBert = {{{"is_decoder", false}, {"add_cross_attention", false}}};
// What has the head that fills in; without it an encoder is a BertModel.
constexpr std::array<std::string_view, 2> kWithHead = {"BertForMaskedLM", "BertForPreTraining"};

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
constexpr std::array<std::string_view, 4> kRopeTypes = {"default", "linear", "llama3", "yarn"};

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
    const auto found = std::find(kNames.begin(), kNames.end(), type);
    if (found == kNames.end()) {
      std::string known;
      for (const std::string_view name : kNames) known.append(known.empty() ? "" : ", ").append(name);
      throw UserError(where_, "'model_type' is \"" + type + "\", an architecture that is not supported",
                      "supported are " + known);
    }
    if (has("quantization_config")) refuse("quantization_config", "save the model with whole weights");
    const auto architecture = static_cast<Architecture>(found - kNames.begin());
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
  auto reading() const {
    return [this](const char* key, auto& member, auto if_missing) { read_field(key, member, if_missing); };
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
    for_each_field_of_gpt2(options, reading());
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
    for_each_field_of_bert(options, reading());
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
    for_each_field_of_llama(options, reading());
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
      for_each_field_of_rope(options, rope.reading());
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
    for (const std::int64_t size :
         {options.layers, options.width, options.heads, options.kv_heads, options.head_width,
          options.feed_forward, options.context, options.vocabulary}) {
      if (size < 1 || size > kLargestSize) fail("has a size of the model that is " + std::to_string(size));
    }
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

// The double that prints as the float does.
double printed(float value) {
  char text[32];
  double number = 0.0;
  std::from_chars(text, std::to_chars(text, text + sizeof text, value).ptr, number);
  return number;
}

auto writing_to(Json& json) {
  return [&json](const char* key, const auto& member, const auto&) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(member)>, float>) {
      json[key] = printed(member);
    } else {
      json[key] = member;
    }
  };
}

template <std::size_t kCount>
std::string_view name_of(FeedForward activation, const std::array<ActivationName, kCount>& names) {
  return std::find_if(names.begin(), names.end(), [&](const auto& n) { return n.second == activation; })
      ->first;
}

// What of the options keeps the model from being one of this architecture; none if nothing does.
std::vector<std::string> obstacles(const TransformerOptions& options, Architecture architecture) {
  std::vector<std::string> found;
  const auto needs = [&](bool has, const char* what) {
    if (!has) found.emplace_back(what);
  };
  if (architecture == Architecture::kBert) {
    needs(options.kind == ModelKind::kEncoder, "kind encoder");
    needs(options.norm_placement == NormPlacement::kPost, "norm_placement post");
    needs(options.norm == NormKind::kLayer, "norm layer");
    needs(!is_gated(options.activation), "an activation without a gate");
    needs(options.positions == Positions::kLearned, "positions learned");
    needs(options.biases == Biases::kAll, "biases all");
    needs(options.kv_heads == options.heads && options.head_width * options.heads == options.width,
          "kv_heads and head_width by default");
    needs(options.embedding_norm, "embedding_norm");
    needs(options.token_types > 0, "token_types");
    needs(options.output_transform == options.output_bias, "both output_transform and output_bias, or none");
    needs(options.window == 0, "no window");
    return found;
  }
  needs(options.kind == ModelKind::kDecoder, "kind decoder");
  const bool is_gpt2 = architecture == Architecture::kGpt2;
  needs(options.norm_placement == NormPlacement::kPre, "norm_placement pre");
  needs(is_gated(options.activation) != is_gpt2,
        is_gpt2 ? "an activation without a gate" : "a gated activation");
  needs(options.norm == (is_gpt2 ? NormKind::kLayer : NormKind::kRms), is_gpt2 ? "norm layer" : "norm rms");
  needs(options.positions == (is_gpt2 ? Positions::kLearned : Positions::kRope),
        is_gpt2 ? "positions learned" : "positions rope");
  if (is_gpt2) {
    needs(options.biases == Biases::kAll, "biases all");
    needs(options.kv_heads == options.heads && options.head_width * options.heads == options.width,
          "kv_heads and head_width by default");
  }
  if (architecture == Architecture::kLlama) needs(options.biases != Biases::kQkv, "biases all or none");
  if (architecture == Architecture::kQwen2) needs(options.biases == Biases::kQkv, "biases qkv");
  if (architecture != Architecture::kQwen2) needs(options.window == 0, "no window");
  return found;
}

}  // namespace

std::string_view name_of(Architecture architecture) {
  return kNames[static_cast<std::size_t>(architecture)];
}

HuggingFaceModel parse_model_config(const std::string& text, const std::string& where) {
  const Json json = parse_json(text, where);
  return Reader(json, where).read();
}

Architecture architecture_of(const TransformerOptions& options, const std::string& where) {
  std::string why;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    const auto architecture = static_cast<Architecture>(i);
    if ((architecture == Architecture::kBert) != (options.kind == ModelKind::kEncoder)) continue;
    if (options.kind == ModelKind::kEncoderDecoder) break;
    const std::vector<std::string> missing = obstacles(options, architecture);
    if (missing.empty()) return architecture;
    why += (why.empty() ? "" : "; ") + std::string(name_of(architecture)) + " would need ";
    for (const std::string& one : missing) why += (&one == &missing.front() ? "" : ", ") + one;
  }
  throw UserError(where, "is of a model that is none of Hugging Face's", why.empty() ? "" : why);
}

std::string model_config_json(const HuggingFaceModel& model, StoredType type,
                              std::optional<std::int32_t> end_of_document) {
  const TransformerOptions& options = model.options;
  Json json;
  json["model_type"] = name_of(model.architecture);
  if (model.architecture == Architecture::kGpt2) {
    json["architectures"] = {"GPT2LMHeadModel"};
    for_each_field_of_gpt2(options, writing_to(json));
    json["embd_pdrop"] = json["resid_pdrop"];
    json["activation_function"] = name_of(options.activation, kActivations);
  } else if (model.architecture == Architecture::kBert) {
    json["architectures"] = {options.output_transform ? "BertForMaskedLM" : "BertModel"};
    for_each_field_of_bert(options, writing_to(json));
    json["hidden_act"] = name_of(options.activation, kActivations);
  } else {
    const bool is_qwen2 = model.architecture == Architecture::kQwen2;
    json["architectures"] = {is_qwen2 ? "Qwen2ForCausalLM" : "LlamaForCausalLM"};
    for_each_field_of_llama(options, writing_to(json));
    json["hidden_act"] = name_of(options.activation, kGatedActivations);
    json["rope_theta"] = options.rope_theta;
    if (options.rope_scaling != RopeScaling::kNone) {
      Json& rope = json["rope_scaling"];
      rope["rope_type"] = kRopeTypes[static_cast<std::size_t>(options.rope_scaling)];
      for_each_field_of_rope(options, writing_to(rope));
      // Which they work out themselves where it isn't there.
      if (rope.contains("attention_factor") && options.rope_attention_factor == 0.0)
        rope.erase("attention_factor");
    }
    if (is_qwen2) {
      json["use_sliding_window"] = options.window > 0;
      json["sliding_window"] = options.window > 0 ? Json(options.window) : Json();
      if (options.window > 0) json["max_window_layers"] = 0;
    } else {
      json["attention_bias"] = json["mlp_bias"] = options.biases == Biases::kAll;
    }
  }
  json["bos_token_id"] = json["eos_token_id"] = end_of_document ? Json(*end_of_document) : Json();
  json["torch_dtype"] = type == StoredType::kBFloat16 ? "bfloat16" : "float32";
  return json.dump(2) + "\n";
}

}  // namespace trireme
