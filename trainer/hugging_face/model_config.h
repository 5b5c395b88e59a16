// config.json of a Hugging Face folder: the same model, in other words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "trainer/hugging_face/safetensors.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

// The values of "model_type" that there are layers for.
enum class Architecture : std::uint8_t { kGpt2, kLlama, kQwen2, kBert };

std::string_view name_of(Architecture architecture);

struct HuggingFaceModel {
  Architecture architecture = Architecture::kGpt2;
  TransformerOptions options;
  bool next_sentences = false;  // a BERT's config names the head that guesses them, whose weights are beside
};

// Throws UserError at `where` naming the key that is missing, or that asks for what there is no layer for and
// that would change results.
HuggingFaceModel parse_model_config(const std::string& text, const std::string& where);

// Which architecture `transformers` would call such a model.  UserError at `where`, saying what keeps it from
// being any, if there is none.
Architecture architecture_of(const TransformerOptions& options, const std::string& where);

// REQUIRES: architecture_of(model.options) == model.architecture.  `end_of_document` is the token, if it is
// known.
std::string model_config_json(const HuggingFaceModel& model, StoredType type,
                              std::optional<std::int32_t> end_of_document);

}  // namespace trireme
