#include "trainer/hugging_face/export.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "data/json.h"
#include "data/manifest.h"
#include "data/staging_folder.h"
#include "data/tokenizer/tokenizer.h"
#include "data/user_error.h"
#include "kernels/buffer.h"
#include "trainer/checkpoint/load.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/pieces.h"
#include "trainer/hugging_face/file_names.h"
#include "trainer/hugging_face/model_config.h"
#include "trainer/hugging_face/tensor_places.h"
#include "trainer/load_model.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kPieceElements = 1 << 20;

std::int64_t num_elements(const TensorPlace& place) {
  std::int64_t product = 1;
  for (const std::int64_t dim : place.shape) product *= dim;
  return product;
}

// A BertModel is saved without its prefix.
std::string prefix_of(const HuggingFaceModel& model) {
  const bool is_bare = model.architecture == Architecture::kBert && !model.options.output_transform;
  return is_bare ? "" : std::string(name_prefix(model.architecture));
}

std::string full_name(const TensorPlace& place, const std::string& prefix) {
  return is_of_head(place.name) ? place.name : prefix + place.name;
}

// Which tensors each file holds.
std::vector<std::vector<TensorPlace>> shards_of(const std::vector<TensorPlace>& places,
                                                const ExportOptions& options) {
  const std::int64_t element_bytes = options.type == StoredType::kFloat32 ? 4 : 2;
  std::vector<std::vector<TensorPlace>> shards(1);
  std::int64_t size = 0;
  for (const TensorPlace& place : places) {
    const std::int64_t bytes = num_elements(place) * element_bytes;
    if (size + bytes > options.shard_bytes && !shards.back().empty()) {
      shards.emplace_back();
      size = 0;
    }
    shards.back().push_back(place);
    size += bytes;
  }
  return shards;
}

// model.safetensors, or model-00001-of-00003.safetensors.
std::string shard_name(std::size_t index, std::size_t count) {
  if (count == 1) return kWeightsFile;
  std::array<char, 64> name{};
  std::snprintf(name.data(), name.size(), "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return name.data();
}

// The elements of [outputs, inputs] as [inputs, outputs].
void write_transposed(SafetensorsWriter& writer, const TensorPlace& place, const float* values) {
  const std::int64_t inputs = place.shape[0];
  const std::int64_t outputs = place.shape[1];
  const std::int64_t rows = std::max<std::int64_t>(1, kPieceElements / outputs);
  std::vector<float> piece(static_cast<std::size_t>(std::min(rows, inputs) * outputs));
  for (std::int64_t begin = 0; begin < inputs; begin += rows) {
    const std::int64_t count = std::min(rows, inputs - begin);
    for (std::int64_t o = 0; o < outputs; ++o) {
      for (std::int64_t i = 0; i < count; ++i)
        piece[static_cast<std::size_t>(i * outputs + o)] = values[o * inputs + begin + i];
    }
    writer.write(std::span(piece).first(static_cast<std::size_t>(count * outputs)));
  }
}

void write_shard(const fs::path& file, const std::vector<TensorPlace>& places, const std::string& prefix,
                 const Tensor& values, StoredType type) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const TensorPlace& place : places) entries.push_back({full_name(place, prefix), place.shape});
  SafetensorsWriter writer(file, entries, type);
  for (const TensorPlace& place : places) {
    const float* const elements = values.data<float>() + place.offset;
    if (place.transposed) {
      write_transposed(writer, place, elements);
      continue;
    }
    const std::int64_t count = num_elements(place);
    for (std::int64_t begin = 0; begin < count; begin += kPieceElements)
      writer.write({elements + begin, static_cast<std::size_t>(std::min(kPieceElements, count - begin))});
  }
  writer.commit();
}

int write_weights(const fs::path& folder, const std::vector<TensorPlace>& places, const std::string& prefix,
                  const Tensor& values, const ExportOptions& options) {
  const auto shards = shards_of(places, options);
  Json index;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(i, shards.size());
    write_shard(folder / name, shards[i], prefix, values, options.type);
    for (const TensorPlace& place : shards[i]) {
      index["weight_map"][full_name(place, prefix)] = name;
      total += num_elements(place) * (options.type == StoredType::kFloat32 ? 4 : 2);
    }
  }
  index["metadata"]["total_size"] = total;
  if (shards.size() > 1) write_durably(folder / kWeightsIndexFile, index.dump(2) + "\n");
  return static_cast<int>(shards.size());
}

// The run's, if it came from elsewhere.
std::optional<std::string> write_tokenizer(const fs::path& folder, const Tokenizer* tokenizer,
                                           std::int64_t context) {
  if (tokenizer == nullptr) return std::nullopt;
  const auto file = tokenizer->original_file();
  if (!file) return std::nullopt;
  write_durably(folder / file->name, file->contents);
  if (file->name != kFastTokenizerFile) return file->name;
  const Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                       {"model_max_length", context},
                       {"eos_token", file->end_of_document},
                       {"clean_up_tokenization_spaces", false}};
  write_durably(folder / kTokenizerConfigFile, config.dump(2) + "\n");
  return file->name;
}

// That config.json can say all that the model is, whatever options there come to be.
void check_nothing_is_lost(const HuggingFaceModel& model, const std::string& config,
                           const fs::path& checkpoint) {
  const HuggingFaceModel again = parse_model_config(config, kModelConfigFile);
  const auto lost = first_difference(model.options.to_json(), again.options.to_json(),
                                     {"dropout", "attention_dropout", "init_stddev"});
  if (!lost) return;
  throw UserError(checkpoint.string(),
                  "is of a model that is none of Hugging Face's: as a " +
                      std::string(name_of(model.architecture)) + ", " + *lost,
                  "");
}

}  // namespace

ExportSummary export_hugging_face(const ExportOptions& options, Communicator& communicator) {
  if (fs::exists(options.folder) && !fs::is_empty(options.folder))
    throw UserError(options.folder.string(), "is there already", "choose another --output");
  const fs::path checkpoint = checkpoint_at(options.model);
  const CheckpointManifest manifest = read_manifest(checkpoint);
  const auto model_options = TransformerOptions::from_json(manifest.model_json, checkpoint / kManifestName);
  const HuggingFaceModel model{.architecture = architecture_of(model_options, checkpoint.string()),
                               .options = model_options};
  const Buffer memory(manifest.num_elements * size_bytes(DType::kFloat32));
  const Tensor values = memory.tensor(DType::kFloat32, {manifest.num_elements});
  load_tensors(checkpoint, manifest, manifest.layout, {{"parameters", values, pieces_of(manifest.layout)}},
               communicator);

  const fs::path tokenizer_file = run_of(checkpoint) / kTokenizerFile;
  const auto tokenizer = fs::exists(tokenizer_file) ? load_tokenizer(tokenizer_file) : nullptr;
  const auto end = tokenizer != nullptr ? std::optional(tokenizer->end_of_document()) : std::nullopt;
  const std::string config = model_config_json(model, options.type, end);
  check_nothing_is_lost(model, config, checkpoint);
  StagingFolder staging(options.folder);
  ExportSummary summary{.checkpoint = checkpoint, .architecture = std::string(name_of(model.architecture))};
  summary.num_files =
      write_weights(staging.path(), tensor_places(model, manifest.layout), prefix_of(model), values, options);
  summary.tokenizer = write_tokenizer(staging.path(), tokenizer.get(), model_options.context);
  write_durably(staging.path() / kModelConfigFile, config);
  staging.publish(IfExists::kRefuse);
  return summary;
}

}  // namespace trireme
