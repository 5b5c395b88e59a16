#include "trainer/hugging_face/weights.h"

#include "data/json.h"
#include "data/user_error.h"
#include "trainer/hugging_face/file_names.h"

namespace trireme {

namespace fs = std::filesystem;

HuggingFaceWeights::HuggingFaceWeights(const fs::path& folder) {
  if (fs::exists(folder / kWeightsFile)) {
    files_.emplace_back(folder / kWeightsFile);
    for (const auto& [name, entry] : files_.front().tensors()) places_.emplace(name, 0);
  } else if (fs::exists(folder / kWeightsIndexFile)) {
    open_shards(folder, folder / kWeightsIndexFile);
  } else {
    throw UserError(folder.string(), std::string("has neither ") + kWeightsFile + " nor " + kWeightsIndexFile,
                    "save the model there with safetensors: model.save_pretrained(FOLDER)");
  }
}

void HuggingFaceWeights::open_shards(const fs::path& folder, const fs::path& index) {
  const std::string where = index.string();
  const auto json = parse_json<LargeJson>(read_whole_file(index), where);
  std::map<std::string, std::size_t> opened;
  const auto weight_map = json_value<LargeJson>(json, "weight_map", where);
  for (const auto& [name, file] : weight_map.items()) {
    if (!file.is_string() || fs::path(file.get<std::string>()).filename() != file.get<std::string>())
      throw UserError(where, "names no file of this folder for " + name, "fetch or write it again");
    const auto [place, is_new] = opened.emplace(file.get<std::string>(), files_.size());
    if (is_new) files_.emplace_back(folder / place->first);
    if (!files_[place->second].tensors().contains(name)) {
      throw UserError(files_[place->second].path().string(),
                      "doesn't hold " + name + ", which the index says it does", "fetch or write it again");
    }
    places_.emplace(name, place->second);
  }
  for (const SafetensorsFile& file : files_) {
    for (const auto& [name, entry] : file.tensors()) {
      if (!places_.contains(name))
        throw UserError(file.path().string(), "holds " + name + ", of which the index knows nothing",
                        "fetch or write it again");
    }
  }
}

std::vector<std::string> HuggingFaceWeights::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : places_) names.push_back(name);
  return names;
}

const SafetensorsFile::Entry& HuggingFaceWeights::entry(const std::string& name) const {
  return files_[places_.at(name)].tensors().at(name);
}

void HuggingFaceWeights::read(const std::string& name, std::int64_t first, std::span<float> out) const {
  files_[places_.at(name)].read(entry(name), first, out);
}

}  // namespace trireme
