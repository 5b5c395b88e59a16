#include "trainer/checkpoint/manifest.h"

#include <algorithm>
#include <charconv>

#include "data/checksum.h"
#include "data/file.h"
#include "data/json.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr int kFormatVersion = 1;
constexpr const char* kFormatName = "trireme checkpoint";
constexpr const char* kChecksumKey = "xxh3";  // of the text without this key
constexpr int kIndent = 1;

std::uint64_t from_hex(const std::string& text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

Json dims_of(const Shape& shape) {
  Json dims = Json::array();
  for (int i = 0; i < shape.num_dims(); ++i) dims.push_back(shape[i]);
  return dims;
}

Shape shape_of(const Json& dims) {
  Shape shape;
  for (const Json& dim : dims) shape = shape.insert(shape.num_dims(), dim.get<std::int64_t>());
  return shape;
}

Json json_of(const TrainState& state) {
  return {{"step", state.step},     {"samples", state.samples},
          {"tokens", state.tokens}, {"skipped_steps", state.skipped_steps},
          {"seed", state.seed},     {"dataset_id", state.dataset_id}};
}

TrainState state_of(const Json& json) {
  return {.step = json.at("step"),
          .samples = json.at("samples"),
          .tokens = json.value("tokens", std::int64_t{-1}),
          .skipped_steps = json.at("skipped_steps"),
          .seed = json.at("seed"),
          .dataset_id = json.at("dataset_id")};
}

Json json_of(const CheckpointManifest::File& file) {
  return {{"name", file.name}, {"size_bytes", file.size_bytes}, {"begin", file.begin},
          {"end", file.end},   {"offsets", file.offsets},       {"frame_xxh3", to_hex(file.frame_checksum)}};
}

CheckpointManifest::File file_of(const Json& json) {
  return {.name = json.at("name"),
          .size_bytes = json.at("size_bytes"),
          .begin = json.at("begin"),
          .end = json.at("end"),
          .offsets = json.at("offsets"),
          .frame_checksum = from_hex(json.at("frame_xxh3"))};
}

CheckpointManifest manifest_of(const Json& json) {
  CheckpointManifest manifest;
  manifest.state = state_of(json.at("state"));
  manifest.model_json = json.at("model").dump();
  manifest.num_elements = json.at("num_elements");
  for (const Json& tensor : json.at("tensors"))
    manifest.tensors.push_back({.name = tensor.at("name"), .checksum = from_hex(tensor.at("xxh3"))});
  for (const Json& entry : json.at("layout"))
    manifest.layout.push_back(
        {.name = entry.at("name"), .offset = entry.at("offset"), .shape = shape_of(entry.at("shape"))});
  for (const Json& file : json.at("files")) manifest.files.push_back(file_of(file));
  return manifest;
}

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw UserError(path.string(), what, "bring back a good copy, or delete the checkpoint");
}

}  // namespace

std::string CheckpointManifest::to_json() const {
  Json json{{"format", kFormatName}, {"version", kFormatVersion}};
  json["state"] = json_of(state);
  json["model"] = Json::parse(model_json);
  json["num_elements"] = num_elements;
  json["tensors"] = Json::array();
  for (const TensorRecord& tensor : tensors)
    json["tensors"].push_back({{"name", tensor.name}, {"xxh3", to_hex(tensor.checksum)}});
  json["layout"] = Json::array();
  for (const CheckpointEntry& entry : layout)
    json["layout"].push_back(
        {{"name", entry.name}, {"offset", entry.offset}, {"shape", dims_of(entry.shape)}});
  json["files"] = Json::array();
  for (const File& file : files) json["files"].push_back(json_of(file));
  json[kChecksumKey] = to_hex(checksum_of(json.dump(kIndent)));
  return json.dump(kIndent) + "\n";
}

CheckpointManifest CheckpointManifest::from_json(const std::string& text, const std::filesystem::path& path) {
  if (text.empty()) fail(path, "is empty");
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("format", Json()) != kFormatName)
    fail(path, "is no manifest of a checkpoint");
  if (json.value("version", Json()) != kFormatVersion) {
    throw UserError(path.string(), "has another version of the format than " + std::to_string(kFormatVersion),
                    "use the version of trireme that wrote it");
  }
  Json without_checksum = json;
  without_checksum.erase(kChecksumKey);
  const bool unchanged =
      json.value(kChecksumKey, Json()) == to_hex(checksum_of(without_checksum.dump(kIndent))) &&
      json.dump(kIndent) + "\n" == text;
  if (!unchanged) fail(path, "was changed since it was written");
  try {
    return manifest_of(json);
  } catch (const nlohmann::json::exception& error) {
    fail(path, std::string("is not complete (") + error.what() + ")");
  }
}

CheckpointManifest read_manifest(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kManifestName;
  CheckpointManifest manifest = CheckpointManifest::from_json(read_whole_file(path), path);
  for (const CheckpointManifest::File& file : manifest.files) {
    const std::int64_t size_bytes = File::open(folder / file.name).size_bytes();
    if (size_bytes != file.size_bytes) {
      fail(folder / file.name, "has " + std::to_string(size_bytes) + " bytes instead of the " +
                                   std::to_string(file.size_bytes) + " in the manifest");
    }
  }
  return manifest;
}

std::optional<std::string> first_difference(const std::string& checkpoint_json,
                                            const std::string& config_json,
                                            const std::vector<std::string>& changeable) {
  const Json checkpoint = Json::parse(checkpoint_json);
  const Json config = Json::parse(config_json);
  Json keys = checkpoint;
  keys.update(config);
  for (const auto& [key, unused] : keys.items()) {
    if (std::find(changeable.begin(), changeable.end(), key) != changeable.end()) continue;
    const Json theirs = checkpoint.value(key, Json());
    const Json ours = config.value(key, Json());
    if (theirs != ours)
      return key + " is " + theirs.dump() + " in the checkpoint and " + ours.dump() + " in the config";
  }
  return std::nullopt;
}

}  // namespace trireme
