#include "trainer/attention_maps.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "data/masking.h"
#include "data/user_error.h"
#include "data/utf8.h"
#include "kernels/attention_probabilities.h"
#include "kernels/cross_entropy.h"
#include "trainer/fill_masks.h"
#include "trainer/translate.h"

namespace trireme {
namespace {

// Numbers of all maps together: a quarter of a GiB, and a page that a browser still opens.
constexpr std::int64_t kMostNumbers = std::int64_t{1} << 26;

// Keeps the probabilities of a pass of one sequence.
class Recorder : public AttentionObserver {
 public:
  void observe(AttentionKind kind, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
               Stream stream) override {
    AttentionMaps& maps = maps_[static_cast<std::size_t>(kind)];
    maps.kind = kind;
    maps.heads = q_BTHD.dim(2);
    const Shape shape = {1, maps.heads, q_BTHD.dim(1), k_BSKD.dim(1)};
    std::vector<float>& p = maps.layers_HTS.emplace_back(static_cast<std::size_t>(shape.num_elements()));
    attention_probabilities({p.data(), DType::kFloat32, shape}, q_BTHD, k_BSKD, options, stream);
  }

  AttentionMaps take(AttentionKind kind, const TokenTexts& queries, const TokenTexts& keys,
                     const TransformerOptions& options) {
    AttentionMaps maps = std::move(maps_[static_cast<std::size_t>(kind)]);
    maps.queries = queries;
    maps.keys = keys;
    const bool is_second_stack =
        kind == AttentionKind::kEncoder && options.kind == ModelKind::kEncoderDecoder;
    if (options.loops > 1) maps.layers_per_loop = is_second_stack ? options.encoder_layers : options.layers;
    return maps;
  }

 private:
  std::array<AttentionMaps, kNumAttentionKinds> maps_;
};

std::vector<std::int32_t> encoded(Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::int32_t> tokens;
  tokenizer.encode(text, tokens);
  return tokens;
}

TokenTexts with_texts(std::vector<std::int32_t> tokens, const Tokenizer& tokenizer) {
  TokenTexts result;
  const std::int32_t mask = mask_token_of(tokenizer);
  for (const std::int32_t token : tokens) {
    result.texts.push_back(token_label(token == mask ? kMaskInText : tokenizer.bytes_of(token)));
  }
  result.tokens = std::move(tokens);
  return result;
}

// `what` is how the user gives the text.
void check_tokens(const char* what, std::int64_t tokens, std::int64_t context) {
  if (tokens > context) {
    throw UserError(what,
                    "has " + std::to_string(tokens) + " tokens with the end, and the model's context is " +
                        std::to_string(context),
                    "give a shorter text");
  }
}

void check_numbers(double numbers) {
  if (numbers <= static_cast<double>(kMostNumbers)) return;
  throw UserError("--text",
                  "has maps of " + std::to_string(std::llround(numbers / 1e6)) +
                      " million numbers in all layers and heads, of which " +
                      std::to_string(kMostNumbers / 1000000) + " million are the most",
                  "give a shorter text");
}

Tensor as_tensor(std::vector<std::int32_t>& tokens) {
  return {tokens.data(), DType::kInt32, {1, std::ssize(tokens)}};
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

}  // namespace

std::string AttentionMaps::name_of_layer(std::size_t layer) const {
  if (layers_per_loop == 0) return "layer " + std::to_string(layer);
  const auto per_loop = static_cast<std::size_t>(layers_per_loop);
  return "loop " + std::to_string(layer / per_loop) + ", layer " + std::to_string(layer % per_loop);
}

std::span<const float> AttentionMaps::head(std::size_t layer, std::int64_t head) const {
  const std::int64_t size = queries.size() * keys.size();
  return std::span(layers_HTS.at(layer))
      .subspan(static_cast<std::size_t>(head * size), static_cast<std::size_t>(size));
}

HeadFigures figures_of_head(std::span<const float> p_TS, std::int64_t num_keys) {
  HeadFigures sums;
  for (std::size_t i = 0; i < p_TS.size(); ++i) {
    const auto p = static_cast<double>(p_TS[i]);
    const std::int64_t t = static_cast<std::int64_t>(i) / num_keys;
    const std::int64_t s = static_cast<std::int64_t>(i) % num_keys;
    if (p > 0.0) sums.entropy -= p * std::log(p);
    sums.distance += p * static_cast<double>(std::abs(t - s));
  }
  const double queries = static_cast<double>(p_TS.size()) / static_cast<double>(num_keys);
  return {std::max(0.0, sums.entropy / queries), sums.distance / queries};
}

AttentionReading read_attention(TrainedModel& trained, std::string_view text) {
  const TransformerOptions& options = trained.model->options();
  std::vector<std::int32_t> tokens = {trained.tokenizer->end_of_document()};
  trained.tokenizer->encode(text, tokens);
  const std::int64_t length = std::ssize(tokens);
  if (length < 2) throw UserError("--text", "is empty", "give some text to look at");
  check_tokens("--text", length, options.context);
  check_numbers(static_cast<double>(options.loops * options.layers * options.heads) *
                static_cast<double>(length * length));

  std::vector<std::int32_t> targets(tokens.begin() + 1, tokens.end());
  targets.push_back(kIgnoredTarget);  // nobody knows how it goes on
  trained.model->allocate({.batch = 1, .sequence = length});
  Recorder recorder;
  float loss = 0.0F;
  trained.model->forward_loss({&loss, DType::kFloat32, {1}}, as_tensor(tokens), as_tensor(targets),
                              {.batch = 1, .sequence = length, .attention_observer = &recorder});
  AttentionReading reading{.maps = {}, .loss = loss / static_cast<double>(length - 1)};
  const TokenTexts shown = with_texts(std::move(tokens), *trained.tokenizer);
  reading.maps.push_back(recorder.take(AttentionKind::kDecoder, shown, shown, options));
  return reading;
}

AttentionReading read_attention(TrainedMaskedModel& trained, std::string_view text) {
  const TransformerOptions& options = trained.model->options();
  std::vector<std::int32_t> tokens = masked_text(text, *trained.tokenizer).tokens;
  const std::int64_t length = std::ssize(tokens);
  if (length < 3) throw UserError("--text", "is empty", "give some text to look at");
  check_tokens("--text", length, options.context);
  check_numbers(static_cast<double>(options.loops * options.layers * options.heads) *
                static_cast<double>(length * length));

  trained.model->allocate({.batch = 1, .sequence = length}, /*predictions=*/1);
  Recorder recorder;
  trained.model->hidden_states(as_tensor(tokens),
                               {.batch = 1, .sequence = length, .attention_observer = &recorder});
  const TokenTexts shown = with_texts(std::move(tokens), *trained.tokenizer);
  AttentionReading reading;
  reading.maps.push_back(recorder.take(AttentionKind::kEncoder, shown, shown, options));
  return reading;
}

AttentionReading read_attention(TrainedTranslator& trained, std::string_view source,
                                const std::optional<std::string>& target) {
  EncoderDecoder& model = *trained.model;
  const TransformerOptions& options = model.options();
  const std::int32_t end = trained.tokenizer->end_of_document();
  std::vector<std::int32_t> sources = encoded(*trained.tokenizer, source);
  if (is_blank(source) || sources.empty())
    throw UserError("--text", "is empty", "give a sentence to translate");
  check_tokens("--text", std::ssize(sources) + 1, options.context);

  std::vector<std::int32_t> outputs;
  if (target) {
    outputs = encoded(*trained.tokenizer, *target);
    check_tokens("--target", std::ssize(outputs) + 1, options.context);
  } else {
    const BeamOptions beam;
    const std::int64_t room = std::max(options.context, beam.beam);
    model.allocate({.source_tokens = room, .target_tokens = room});
    outputs = translate(model, std::span(&sources, 1), end, beam, room).front().tokens;
  }
  sources.push_back(end);
  std::vector<std::int32_t> inputs = {end};
  inputs.insert(inputs.end(), outputs.begin(), outputs.end());
  outputs.push_back(end);

  auto length = static_cast<std::int32_t>(sources.size());
  const auto s = static_cast<double>(sources.size()), t = static_cast<double>(inputs.size());
  check_numbers(static_cast<double>(options.loops * options.heads) *
                (static_cast<double>(options.encoder_layers) * s * s +
                 static_cast<double>(options.layers) * t * (s + t)));
  model.allocate({.source_tokens = length, .target_tokens = std::ssize(inputs)});
  Recorder recorder;
  float loss = 0.0F;
  model.forward_loss({&loss, DType::kFloat32, {1}},
                     {.sources_BS = as_tensor(sources),
                      .source_lengths_B = {&length, DType::kInt32, {1}},
                      .target_inputs_BT = as_tensor(inputs),
                      .target_outputs_BT = as_tensor(outputs)},
                     {.attention_observer = &recorder});
  AttentionReading reading{.maps = {}, .loss = static_cast<double>(loss) / t};
  const TokenTexts shown_source = with_texts(std::move(sources), *trained.tokenizer);
  const TokenTexts shown_target = with_texts(std::move(inputs), *trained.tokenizer);
  reading.maps.push_back(recorder.take(AttentionKind::kCross, shown_target, shown_source, options));
  reading.maps.push_back(recorder.take(AttentionKind::kEncoder, shown_source, shown_source, options));
  reading.maps.push_back(recorder.take(AttentionKind::kDecoder, shown_target, shown_target, options));
  return reading;
}

std::string token_label(std::string_view bytes) {
  if (bytes.empty()) return "⟨end⟩";
  Utf8Checker utf8;
  utf8.update(bytes);
  const bool is_text = utf8.finish() && std::none_of(bytes.begin(), bytes.end(), [](char c) {
                         const auto byte = static_cast<unsigned char>(c);
                         return (byte < 0x20 && c != '\t' && c != '\n') || byte == 0x7F;
                       });
  std::string label;
  if (!is_text) {
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    for (const char c : bytes) {
      const auto byte = static_cast<unsigned char>(c);
      label += label.empty() ? "⟨" : " ";
      label += {kDigits[byte >> 4], kDigits[byte & 15]};
    }
    return label + "⟩";
  }
  for (const char c : bytes) {
    if (c == ' ') {
      label += "␣";
    } else if (c == '\t') {
      label += "⇥";
    } else if (c == '\n') {
      label += "↵";
    } else {
      label += c;
    }
  }
  return label;
}

}  // namespace trireme
