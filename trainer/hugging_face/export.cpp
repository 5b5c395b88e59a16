#include "trainer/hugging_face/export.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <memory>
#include <numeric>
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
#include "trainer/hugging_face/left_out.h"
#include "trainer/hugging_face/model_config.h"
#include "trainer/hugging_face/tensor_places.h"
#include "trainer/load_model.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kPieceElements = 1 << 20;

// A tensor as it leaves.
struct Outgoing {
  std::string name;                 // whole
  std::vector<std::int64_t> shape;  // theirs
  const float* values = nullptr;    // borrowed
  bool transposed = false;          // `values` are [outputs, inputs]

  std::int64_t num_elements() const {
    return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
  }
};

// A BertModel is saved without its prefix.
std::string prefix_of(const HuggingFaceModel& model) {
  const bool is_bare = model.architecture == Architecture::kBert && !model.options.output_transform;
  return is_bare ? "" : std::string(name_prefix(model.architecture));
}

std::vector<Outgoing> outgoing_tensors(const HuggingFaceModel& model, const std::vector<TensorPlace>& places,
                                       const Tensor& values, const std::vector<LeftOutTensor>& left_out) {
  const std::string prefix = prefix_of(model);
  const auto full = [&](const std::string& name) { return is_of_head(name) ? name : prefix + name; };
  std::vector<Outgoing> tensors;
  for (const TensorPlace& place : places)
    tensors.push_back({full(place.name), place.shape, values.data<float>() + place.offset, place.transposed});
  for (const LeftOutTensor& tensor : left_out)
    tensors.push_back({full(tensor.name), tensor.shape, tensor.values.data()});
  return tensors;
}

// Which tensors each file holds.
std::vector<std::vector<Outgoing>> shards_of(const std::vector<Outgoing>& tensors,
                                             const ExportOptions& options) {
  const std::int64_t element_bytes = options.type == StoredType::kFloat32 ? 4 : 2;
  std::vector<std::vector<Outgoing>> shards(1);
  std::int64_t size = 0;
  for (const Outgoing& tensor : tensors) {
    const std::int64_t bytes = tensor.num_elements() * element_bytes;
    if (size + bytes > options.shard_bytes && !shards.back().empty()) {
      shards.emplace_back();
      size = 0;
    }
    shards.back().push_back(tensor);
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
void write_transposed(SafetensorsWriter& writer, const Outgoing& tensor) {
  const std::int64_t inputs = tensor.shape[0];
  const std::int64_t outputs = tensor.shape[1];
  const std::int64_t rows = std::max<std::int64_t>(1, kPieceElements / outputs);
  std::vector<float> piece(static_cast<std::size_t>(std::min(rows, inputs) * outputs));
  for (std::int64_t begin = 0; begin < inputs; begin += rows) {
    const std::int64_t count = std::min(rows, inputs - begin);
    for (std::int64_t o = 0; o < outputs; ++o) {
      for (std::int64_t i = 0; i < count; ++i)
        piece[static_cast<std::size_t>(i * outputs + o)] = tensor.values[o * inputs + begin + i];
    }
    writer.write(std::span(piece).first(static_cast<std::size_t>(count * outputs)));
  }
}

void write_shard(const fs::path& file, const std::vector<Outgoing>& tensors, StoredType type) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const Outgoing& tensor : tensors) entries.push_back({tensor.name, tensor.shape});
  SafetensorsWriter writer(file, entries, type);
  for (const Outgoing& tensor : tensors) {
    if (tensor.transposed) {
      write_transposed(writer, tensor);
      continue;
    }
    const std::int64_t count = tensor.num_elements();
    for (std::int64_t begin = 0; begin < count; begin += kPieceElements)
      writer.write(
          {tensor.values + begin, static_cast<std::size_t>(std::min(kPieceElements, count - begin))});
  }
  writer.commit();
}

int write_weights(const fs::path& folder, const std::vector<Outgoing>& tensors,
                  const ExportOptions& options) {
  const auto shards = shards_of(tensors, options);
  Json index;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(i, shards.size());
    write_shard(folder / name, shards[i], options.type);
    for (const Outgoing& tensor : shards[i]) {
      index["weight_map"][tensor.name] = name;
      total += tensor.num_elements() * (options.type == StoredType::kFloat32 ? 4 : 2);
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
  const std::vector<LeftOutTensor> left_out = read_left_out_tensors(checkpoint);
  const HuggingFaceModel model{
      .architecture = architecture_of(model_options, checkpoint.string()),
      .options = model_options,
      .next_sentences = std::any_of(left_out.begin(), left_out.end(),
                                    [](const auto& tensor) { return is_of_head(tensor.name); })};
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
  const auto places = tensor_places(model, manifest.layout);
  summary.num_files =
      write_weights(staging.path(), outgoing_tensors(model, places, values, left_out), options);
  summary.tokenizer = write_tokenizer(staging.path(), tokenizer.get(), model_options.context);
  write_durably(staging.path() / kModelConfigFile, config);
  staging.publish(IfExists::kRefuse);
  return summary;
}

}  // namespace trireme
