#include "trainer/model/translation_cache.h"

#include <utility>

#include "kernels/elementwise.h"
#include "kernels/padding.h"

namespace trireme {

TranslationCache::TranslationCache(EncoderDecoder& model, Tensor sources_BS, Tensor source_lengths_B,
                                   std::int64_t beam, std::int64_t max_tokens)
    : model_(model), beam_(beam) {
  const TransformerOptions& options = model.options();
  const std::int64_t sentences = sources_BS.dim(0);
  const std::int64_t source_length = sources_BS.dim(1);
  const Shape rows = {sentences * beam, max_tokens, options.kv_heads, options.head_width};
  const Shape memory = {sentences, source_length, 2 * options.kv_heads * options.head_width};
  const auto plan = [&](Arena& arena) {
    layers_.clear();
    spare_.clear();
    memory_BSG_.clear();
    for (std::int64_t layer = 0; layer < options.cached_layers(); ++layer) {
      for (auto* const layers : {&layers_, &spare_}) {
        const Tensor keys = arena.allocate(model.dtype(), rows);
        layers->push_back({.keys_BSKD = keys, .values_BSKD = arena.allocate(model.dtype(), rows)});
      }
    }
    for (std::int64_t block = 0; block < options.layers; ++block)
      memory_BSG_.push_back(arena.allocate(model.dtype(), memory));
    documents_BS_ = arena.allocate(DType::kInt32, {sentences, source_length});
    query_documents_BT_ = arena.allocate(DType::kInt32, {sentences, beam});
  };
  const Device device = model.stream().device();
  Arena measure = Arena::measuring(device);
  plan(measure);
  arena_.emplace(measure.size_bytes(), device);
  plan(*arena_);
  mark_padding(documents_BS_, source_lengths_B, /*padding=*/1, model.stream());
  fill(query_documents_BT_, 0.0F, model.stream());
  memory_.sequence = source_length;
  resize(sentences);
  model.encode(sources_BS, source_lengths_B, cache_, memory_, model.stream());
}

void TranslationCache::resize(std::int64_t sentences) {
  memory_.batch = sentences;
  memory_.documents_BS = documents_BS_.slice(0, 0, sentences);
  memory_.query_documents_BT = query_documents_BT_.slice(0, 0, sentences);
  cache_.layers.clear();
  for (const KeyValueCache::Layer& layer : layers_) {
    cache_.layers.push_back({.keys_BSKD = layer.keys_BSKD.slice(0, 0, sentences * beam_),
                             .values_BSKD = layer.values_BSKD.slice(0, 0, sentences * beam_)});
  }
  cache_.memory_BSG.clear();
  for (const Tensor& memory : memory_BSG_) cache_.memory_BSG.push_back(memory.slice(0, 0, sentences));
}

Tensor TranslationCache::decode(Tensor tokens_N) {
  return model_.decode(tokens_N, cache_, memory_, model_.stream());
}

void TranslationCache::select(std::span<const std::int64_t> parents,
                              std::span<const std::int64_t> sentences) {
  const auto row = [](Tensor x, std::int64_t i) { return x.slice(0, i, i + 1); };
  const auto filled = [&](Tensor x, std::int64_t i) { return row(x, i).slice(1, 0, cache_.length); };
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    for (std::size_t i = 0; i < parents.size(); ++i) {
      const auto to = static_cast<std::int64_t>(i);
      copy(filled(spare_[layer].keys_BSKD, to), filled(layers_[layer].keys_BSKD, parents[i]),
           model_.stream());
      copy(filled(spare_[layer].values_BSKD, to), filled(layers_[layer].values_BSKD, parents[i]),
           model_.stream());
    }
  }
  std::swap(layers_, spare_);
  // Downwards, so that nothing is overwritten that is still to be copied.
  for (std::size_t i = 0; i < sentences.size(); ++i) {
    const auto to = static_cast<std::int64_t>(i);
    if (sentences[i] == to) continue;
    for (const Tensor& memory : memory_BSG_)
      copy(row(memory, to), row(memory, sentences[i]), model_.stream());
    copy(row(documents_BS_, to), row(documents_BS_, sentences[i]), model_.stream());
  }
  resize(static_cast<std::int64_t>(sentences.size()));
}

}  // namespace trireme
