#include "trainer/load_model.h"

#include "data/manifest.h"
#include "trainer/checkpoint/folders.h"
#include "trainer/checkpoint/load.h"
#include "trainer/checkpoint/manifest.h"

namespace trireme {

TrainedModel load_model(const std::filesystem::path& path, Communicator& communicator) {
  const bool is_checkpoint = std::filesystem::exists(path / kManifestName);
  const std::filesystem::path folder = is_checkpoint ? path : newest_checkpoint(path);
  const std::filesystem::path run = std::filesystem::absolute(folder).parent_path().parent_path();
  const CheckpointManifest manifest = read_manifest(folder);

  TrainedModel loaded;
  loaded.checkpoint = folder;
  loaded.state = manifest.state;
  const auto options = TransformerOptions::from_json(manifest.model_json, folder / kManifestName);
  loaded.model = std::make_unique<Transformer>(options);
  load_tensors(folder, manifest, layout_of(loaded.model->parameters()),
               {{"parameters", loaded.model->parameters().values()}}, communicator);
  loaded.tokenizer = load_tokenizer(run / kTokenizerFile);
  return loaded;
}

}  // namespace trireme
