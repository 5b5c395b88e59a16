#include "trainer/load_model.h"

#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

#include "data/manifest.h"
#include "data/user_error.h"
#include "kernels/elementwise.h"
#include "kernels/host_copy.h"
#include "trainer/checkpoint/folders.h"
#include "trainer/checkpoint/load.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/pieces.h"

namespace trireme {
std::filesystem::path checkpoint_at(const std::filesystem::path& path) {
  return std::filesystem::exists(path / kManifestName) ? path : newest_checkpoint(path);
}

std::filesystem::path run_of(const std::filesystem::path& checkpoint) {
  return std::filesystem::absolute(checkpoint).lexically_normal().parent_path().parent_path();
}

namespace {

TransformerOptions options_of(const std::filesystem::path& folder) {
  return TransformerOptions::from_json(read_manifest(folder).model_json, folder / kManifestName);
}

// What a model of each kind is called, and what it is for.
struct Use {
  const char* name;
  const char* deed;
  const char* command;
};
constexpr Use kUses[] = {{"a decoder", "goes on with a text", "trireme generate"},
                         {"an encoder-decoder", "translates", "trireme translate"},
                         {"an encoder", "fills in masked words", "trireme fill"}};

void check_kind(const std::filesystem::path& folder, ModelKind kind, ModelKind wanted) {
  if (kind == wanted) return;
  const Use& use = kUses[static_cast<std::size_t>(kind)];
  const Use& wanted_use = kUses[static_cast<std::size_t>(wanted)];
  throw UserError(folder.string(),
                  std::string("is of ") + use.name + ", which " + use.deed + ": only " + wanted_use.name +
                      " " + wanted_use.deed,
                  std::string("use it with ") + use.command + ", or name a checkpoint of " + wanted_use.name);
}

template <typename Model>
Trained<Model> load(const std::filesystem::path& folder, const TransformerOptions& options,
                    Communicator& communicator, Device device) {
  const CheckpointManifest manifest = read_manifest(folder);
  Trained<Model> loaded;
  loaded.checkpoint = folder;
  loaded.state = manifest.state;
  loaded.stream = std::make_unique<DeviceStream>(device);
  if constexpr (std::is_same_v<Model, MaskedLanguageModel>) {
    loaded.model = std::make_unique<Model>(options, ParameterMemory::kValues, *loaded.stream);
  } else {
    loaded.model =
        std::make_unique<Model>(options, ParameterMemory::kValues, ModelShare{.stream = *loaded.stream});
  }
  const std::vector<CheckpointEntry> layout = layout_of(loaded.model->parameters());
  load_tensors(folder, manifest, layout,
               {{"parameters", loaded.model->parameters().values(), pieces_of(layout)}}, communicator);
  loaded.tokenizer = load_tokenizer(run_of(folder) / kTokenizerFile);
  return loaded;
}

// The checkpoints of the run up to this one, the newest first.
std::vector<std::filesystem::path> last_checkpoints(const std::filesystem::path& folder, std::int64_t count) {
  const auto name = std::filesystem::absolute(folder).lexically_normal();
  std::vector<std::filesystem::path> found = find_checkpoints(run_of(folder));
  const auto first = std::find_if(found.begin(), found.end(), [&](const auto& other) {
    return std::filesystem::absolute(other).lexically_normal() == name;
  });
  found.erase(found.begin(), first);
  if (static_cast<std::int64_t>(found.size()) < count) {
    throw UserError(run_of(folder).string(),
                    "has " + std::to_string(found.size()) + " checkpoints up to " +
                        folder.filename().string() + ", and " + std::to_string(count) + " are to be averaged",
                    "average fewer, or train with a larger checkpoint.keep_last");
  }
  found.resize(static_cast<std::size_t>(count));
  return found;
}

}  // namespace

ModelKind kind_of_model(const std::filesystem::path& path) {
  return options_of(checkpoint_at(path)).kind;
}

TrainedModel load_model(const std::filesystem::path& path, Communicator& communicator, Device device) {
  const std::filesystem::path folder = checkpoint_at(path);
  const TransformerOptions options = options_of(folder);
  check_kind(folder, options.kind, ModelKind::kDecoder);
  return load<Transformer>(folder, options, communicator, device);
}

TrainedMaskedModel load_masked_model(const std::filesystem::path& path, Communicator& communicator,
                                     Device device) {
  const std::filesystem::path folder = checkpoint_at(path);
  const TransformerOptions options = options_of(folder);
  check_kind(folder, options.kind, ModelKind::kEncoder);
  return load<MaskedLanguageModel>(folder, options, communicator, device);
}

TrainedTranslator load_translator(const std::filesystem::path& path, std::int64_t average,
                                  Communicator& communicator, Device device) {
  const std::filesystem::path folder = checkpoint_at(path);
  const TransformerOptions options = options_of(folder);
  check_kind(folder, options.kind, ModelKind::kEncoderDecoder);
  TrainedTranslator loaded = load<EncoderDecoder>(folder, options, communicator, device);
  if (average <= 1) return loaded;
  const Tensor values = loaded.model->parameters().values();
  const auto count = static_cast<std::size_t>(values.num_elements());
  std::vector<double> sum(count, 0.0);
  const Stream stream = loaded.model->stream();
  std::vector<float> mean;
  const std::vector<CheckpointEntry> layout = layout_of(loaded.model->parameters());
  const std::vector<CheckpointTensor> parameters{{"parameters", values, pieces_of(layout)}};
  for (const std::filesystem::path& other : last_checkpoints(folder, average)) {
    load_tensors(other, read_manifest(other), layout, parameters, communicator);
    mean = host_copy<float>(values, stream);
    for (std::size_t i = 0; i < count; ++i) sum[i] += static_cast<double>(mean[i]);
  }
  for (std::size_t i = 0; i < count; ++i) mean[i] = static_cast<float>(sum[i] / static_cast<double>(average));
  copy(values, {mean.data(), DType::kFloat32, values.shape()}, stream);
  stream.synchronize();
  return loaded;
}

}  // namespace trireme
