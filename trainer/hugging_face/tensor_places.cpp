#include "trainer/hugging_face/tensor_places.h"

#include <algorithm>
#include <span>

#include <glog/logging.h>

namespace trireme {
namespace {

// Rows of a parameter of ours.
enum class Rows : std::uint8_t { kAll, kQueries, kKeys, kValues, kGate, kUp };

struct TensorRow {
  std::string_view ours;  // {} stands for the number of the layer
  std::string_view theirs;
  Rows rows = Rows::kAll;
  bool transposed = false;
};

constexpr std::string_view kOutputTensor = "lm_head.weight";
constexpr std::string_view kBertOutputTensor = "cls.predictions.decoder.weight";

constexpr TensorRow kGpt2[] = {
    {"embedding.token", "wte.weight"},
    {"embedding.position", "wpe.weight"},
    {"blocks.{}.attention_norm.weight", "h.{}.ln_1.weight"},
    {"blocks.{}.attention_norm.bias", "h.{}.ln_1.bias"},
    {"blocks.{}.attention.qkv.weight", "h.{}.attn.c_attn.weight", Rows::kAll, /*transposed=*/true},
    {"blocks.{}.attention.qkv.bias", "h.{}.attn.c_attn.bias"},
    {"blocks.{}.attention.out.weight", "h.{}.attn.c_proj.weight", Rows::kAll, /*transposed=*/true},
    {"blocks.{}.attention.out.bias", "h.{}.attn.c_proj.bias"},
    {"blocks.{}.mlp_norm.weight", "h.{}.ln_2.weight"},
    {"blocks.{}.mlp_norm.bias", "h.{}.ln_2.bias"},
    {"blocks.{}.mlp.in.weight", "h.{}.mlp.c_fc.weight", Rows::kAll, /*transposed=*/true},
    {"blocks.{}.mlp.in.bias", "h.{}.mlp.c_fc.bias"},
    {"blocks.{}.mlp.out.weight", "h.{}.mlp.c_proj.weight", Rows::kAll, /*transposed=*/true},
    {"blocks.{}.mlp.out.bias", "h.{}.mlp.c_proj.bias"},
    {"final_norm.weight", "ln_f.weight"},
    {"final_norm.bias", "ln_f.bias"},
    {"output.weight", kOutputTensor},
};

// And Qwen2's.
constexpr TensorRow kLlama[] = {
    {"embedding.token", "embed_tokens.weight"},
    {"blocks.{}.attention_norm.weight", "layers.{}.input_layernorm.weight"},
    {"blocks.{}.attention.qkv.weight", "layers.{}.self_attn.q_proj.weight", Rows::kQueries},
    {"blocks.{}.attention.qkv.weight", "layers.{}.self_attn.k_proj.weight", Rows::kKeys},
    {"blocks.{}.attention.qkv.weight", "layers.{}.self_attn.v_proj.weight", Rows::kValues},
    {"blocks.{}.attention.qkv.bias", "layers.{}.self_attn.q_proj.bias", Rows::kQueries},
    {"blocks.{}.attention.qkv.bias", "layers.{}.self_attn.k_proj.bias", Rows::kKeys},
    {"blocks.{}.attention.qkv.bias", "layers.{}.self_attn.v_proj.bias", Rows::kValues},
    {"blocks.{}.attention.out.weight", "layers.{}.self_attn.o_proj.weight"},
    {"blocks.{}.attention.out.bias", "layers.{}.self_attn.o_proj.bias"},
    {"blocks.{}.mlp_norm.weight", "layers.{}.post_attention_layernorm.weight"},
    {"blocks.{}.mlp.in.weight", "layers.{}.mlp.gate_proj.weight", Rows::kGate},
    {"blocks.{}.mlp.in.weight", "layers.{}.mlp.up_proj.weight", Rows::kUp},
    {"blocks.{}.mlp.in.bias", "layers.{}.mlp.gate_proj.bias", Rows::kGate},
    {"blocks.{}.mlp.in.bias", "layers.{}.mlp.up_proj.bias", Rows::kUp},
    {"blocks.{}.mlp.out.weight", "layers.{}.mlp.down_proj.weight"},
    {"blocks.{}.mlp.out.bias", "layers.{}.mlp.down_proj.bias"},
    {"final_norm.weight", "norm.weight"},
    {"output.weight", kOutputTensor},
};

constexpr TensorRow kBert[] = {
    {"embedding.token", "embeddings.word_embeddings.weight"},
    {"embedding.position", "embeddings.position_embeddings.weight"},
    {"embedding.type", "embeddings.token_type_embeddings.weight"},
    {"embedding.norm.weight", "embeddings.LayerNorm.weight"},
    {"embedding.norm.bias", "embeddings.LayerNorm.bias"},
    {"blocks.{}.attention.qkv.weight", "encoder.layer.{}.attention.self.query.weight", Rows::kQueries},
    {"blocks.{}.attention.qkv.weight", "encoder.layer.{}.attention.self.key.weight", Rows::kKeys},
    {"blocks.{}.attention.qkv.weight", "encoder.layer.{}.attention.self.value.weight", Rows::kValues},
    {"blocks.{}.attention.qkv.bias", "encoder.layer.{}.attention.self.query.bias", Rows::kQueries},
    {"blocks.{}.attention.qkv.bias", "encoder.layer.{}.attention.self.key.bias", Rows::kKeys},
    {"blocks.{}.attention.qkv.bias", "encoder.layer.{}.attention.self.value.bias", Rows::kValues},
    {"blocks.{}.attention.out.weight", "encoder.layer.{}.attention.output.dense.weight"},
    {"blocks.{}.attention.out.bias", "encoder.layer.{}.attention.output.dense.bias"},
    {"blocks.{}.attention_norm.weight", "encoder.layer.{}.attention.output.LayerNorm.weight"},
    {"blocks.{}.attention_norm.bias", "encoder.layer.{}.attention.output.LayerNorm.bias"},
    {"blocks.{}.mlp.in.weight", "encoder.layer.{}.intermediate.dense.weight"},
    {"blocks.{}.mlp.in.bias", "encoder.layer.{}.intermediate.dense.bias"},
    {"blocks.{}.mlp.out.weight", "encoder.layer.{}.output.dense.weight"},
    {"blocks.{}.mlp.out.bias", "encoder.layer.{}.output.dense.bias"},
    {"blocks.{}.mlp_norm.weight", "encoder.layer.{}.output.LayerNorm.weight"},
    {"blocks.{}.mlp_norm.bias", "encoder.layer.{}.output.LayerNorm.bias"},
    {"output.transform.weight", "cls.predictions.transform.dense.weight"},
    {"output.transform.bias", "cls.predictions.transform.dense.bias"},
    {"output.norm.weight", "cls.predictions.transform.LayerNorm.weight"},
    {"output.norm.bias", "cls.predictions.transform.LayerNorm.bias"},
    {"output.weight", kBertOutputTensor},
    {"output.bias", "cls.predictions.bias"},
};

std::span<const TensorRow> table_of(Architecture architecture) {
  if (architecture == Architecture::kGpt2) return kGpt2;
  if (architecture == Architecture::kBert) return kBert;
  return kLlama;
}

// First row and number of rows.
struct Range {
  std::int64_t begin;
  std::int64_t count;
};

Range range_of(Rows rows, std::int64_t all, const TransformerOptions& options) {
  const std::int64_t queries = options.heads * options.head_width;
  const std::int64_t keys = options.kv_heads * options.head_width;
  switch (rows) {
    case Rows::kAll:
      return {0, all};
    case Rows::kQueries:
      return {0, queries};
    case Rows::kKeys:
      return {queries, keys};
    case Rows::kValues:
      return {queries + keys, keys};
    case Rows::kGate:
      return {0, options.feed_forward};
    case Rows::kUp:
      return {options.feed_forward, options.feed_forward};
  }
  return {};
}

// "blocks.3.mlp.in.bias" is "blocks.{}.mlp.in.bias", of layer "3".
struct Pattern {
  std::string name;
  std::string layer;
};

Pattern pattern_of(const std::string& name) {
  const std::size_t begin = name.find_first_of("0123456789");
  if (begin == std::string::npos) return {.name = name, .layer = ""};
  const std::size_t end = name.find_first_not_of("0123456789", begin);
  return {.name = name.substr(0, begin) + "{}" + name.substr(end), .layer = name.substr(begin, end - begin)};
}

std::string with_layer(std::string_view pattern, const std::string& layer) {
  std::string name(pattern);
  if (const std::size_t place = name.find("{}"); place != std::string::npos) name.replace(place, 2, layer);
  return name;
}

}  // namespace

std::vector<TensorPlace> tensor_places(const HuggingFaceModel& model,
                                       const std::vector<CheckpointEntry>& layout) {
  std::vector<TensorPlace> places;
  for (const CheckpointEntry& entry : layout) {
    const Pattern pattern = pattern_of(entry.name);
    const std::int64_t all_rows = entry.shape[0];
    const std::int64_t columns = entry.shape.num_elements() / all_rows;
    std::int64_t num_placed = 0;
    for (const TensorRow& row : table_of(model.architecture)) {
      if (row.ours != pattern.name) continue;
      const Range range = range_of(row.rows, all_rows, model.options);
      CHECK_EQ(range.begin, num_placed) << entry.name;
      num_placed += range.count;
      std::vector<std::int64_t> shape = {range.count};
      if (entry.shape.num_dims() == 2) shape.push_back(columns);
      if (row.transposed) std::swap(shape[0], shape[1]);
      places.push_back({.name = with_layer(row.theirs, pattern.layer),
                        .shape = shape,
                        .offset = entry.offset + range.begin * columns,
                        .transposed = row.transposed});
    }
    CHECK_EQ(num_placed, all_rows) << entry.name << " has no place in a " << name_of(model.architecture);
  }
  return places;
}

std::string_view name_prefix(Architecture architecture) {
  if (architecture == Architecture::kBert) return "bert.";
  return architecture == Architecture::kGpt2 ? "transformer." : "model.";
}

bool is_of_head(std::string_view name) {
  return name == kOutputTensor || name.starts_with("cls.");
}

std::string_view tied_to(Architecture architecture, std::string_view name) {
  if (architecture != Architecture::kBert)
    return name == kOutputTensor ? table_of(architecture).front().theirs : std::string_view();
  if (name == kBertOutputTensor) return kBert[0].theirs;
  if (name == "cls.predictions.decoder.bias") return "cls.predictions.bias";
  return {};
}

bool is_constant(Architecture architecture, std::string_view name) {
  if (architecture == Architecture::kGpt2)
    return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
  if (architecture == Architecture::kBert) return name == "embeddings.position_ids";
  return name.ends_with(".rotary_emb.inv_freq");
}

bool is_left_out(Architecture architecture, std::string_view name) {
  return architecture == Architecture::kBert &&
         (name.starts_with("pooler.") || name.starts_with("cls.seq_relationship."));
}

}  // namespace trireme
