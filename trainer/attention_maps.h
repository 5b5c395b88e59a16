// What each head of a trained model looks at in a text.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/load_model.h"
#include "trainer/model/attention_observer.h"

namespace trireme {

struct TokenTexts {
  std::vector<std::int32_t> tokens;
  // As they are shown: UTF-8 without control characters; see token_label().
  std::vector<std::string> texts;

  std::int64_t size() const { return static_cast<std::int64_t>(tokens.size()); }
};

// One kind of attention: who looks (T queries), at what (S keys), and how much.
struct AttentionMaps {
  AttentionKind kind = AttentionKind::kDecoder;
  TokenTexts queries;
  TokenTexts keys;
  std::int64_t heads = 0;
  std::int64_t layers_per_loop = 0;            // of a looped model, whose layers come loop after loop; else 0
  std::vector<std::vector<float>> layers_HTS;  // probabilities: each query's add up to 1

  // "layer 3" or, of a looped model, "loop 1, layer 0"; all count from 0.
  std::string name_of_layer(std::size_t layer) const;
  std::span<const float> head(std::size_t layer, std::int64_t head) const;  // [T, S]
};

struct AttentionReading {
  std::vector<AttentionMaps> maps;  // one for each kind that the model has
  // Of the text, or the target, in nats per token; none of a model that fills in.
  std::optional<double> loss;
};

// Means over the queries.
struct HeadFigures {
  double entropy = 0.0;   // -sum p log p, in nats: e^entropy keys, looked at alike, have as much
  double distance = 0.0;  // sum p |t - s|, in tokens
};
HeadFigures figures_of_head(std::span<const float> p_TS, std::int64_t num_keys);

// Text goes in as in training: behind the end of another.  Throw UserError for a text without tokens, with
// more than the model's context, or whose maps are too many to keep.
AttentionReading read_attention(TrainedModel& trained, std::string_view text);
// Tokens may be masked, as for fill_masks.
AttentionReading read_attention(TrainedMaskedModel& trained, std::string_view text);
// Without a target: of the translation that a beam search finds.
AttentionReading read_attention(TrainedTranslator& trained, std::string_view source,
                                const std::optional<std::string>& target);

// What stands for a token of these bytes: itself, where it is text, with marks for blanks (␣ ⇥ ↵); else its
// bytes in hexadecimal digits, as of a part of a character; ⟨end⟩ where it has none.
std::string token_label(std::string_view bytes);

}  // namespace trireme
