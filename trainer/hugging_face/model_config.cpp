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
#include "trainer/hugging_face/model_config_keys.h"

namespace trireme {
namespace {

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
  return kArchitectureNames[static_cast<std::size_t>(architecture)];
}

Architecture architecture_of(const TransformerOptions& options, const std::string& where) {
  std::string why;
  for (std::size_t i = 0; i < kArchitectureNames.size(); ++i) {
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
    json["architectures"] = {model.next_sentences       ? "BertForPreTraining"
                             : options.output_transform ? "BertForMaskedLM"
                                                        : "BertModel"};
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
