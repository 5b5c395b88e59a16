#include "trainer/attention_file.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "data/hdf5_file.h"

namespace trireme {
namespace {

template <typename T>
void write_array(Hdf5Writer& file, const std::string& name, std::span<const T> values,
                 std::span<const std::int64_t> shape) {
  file.begin_array(name, element_type<T>(), shape);
  file.append(values);
}

void write_tokens(Hdf5Writer& file, const std::string& name, const TokenTexts& tokens) {
  file.write<std::int32_t>(name + "_tokens", tokens.tokens);
  file.write_texts(name + "_texts", tokens.texts);
}

// "layer_3", "loop_1_layer_0"
std::string dataset_of(std::string name) {
  std::erase(name, ',');
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

void write_maps(Hdf5Writer& file, const AttentionMaps& maps) {
  const std::string group = std::string(kAttentionKindNames[static_cast<std::size_t>(maps.kind)]) + "/";
  const std::array<std::int64_t, 3> shape = {maps.heads, maps.queries.size(), maps.keys.size()};
  std::vector<float> entropy, distance;
  for (std::size_t layer = 0; layer < maps.layers_HTS.size(); ++layer) {
    write_array<float>(file, group + dataset_of(maps.name_of_layer(layer)), maps.layers_HTS[layer], shape);
    for (std::int64_t head = 0; head < maps.heads; ++head) {
      const HeadFigures figures = figures_of_head(maps.head(layer, head), maps.keys.size());
      entropy.push_back(static_cast<float>(figures.entropy));
      distance.push_back(static_cast<float>(figures.distance));
    }
  }
  const std::array<std::int64_t, 2> by_head = {std::ssize(maps.layers_HTS), maps.heads};
  write_array<float>(file, group + "entropy", entropy, by_head);
  write_array<float>(file, group + "distance", distance, by_head);
  write_tokens(file, group + "query", maps.queries);
  write_tokens(file, group + "key", maps.keys);
}

}  // namespace

void write_attention_file(const std::filesystem::path& path, const AttentionReading& reading,
                          const std::string& checkpoint) {
  Hdf5Writer file(path);
  file.set_attribute("format", std::string("trireme attention"));
  file.set_attribute("checkpoint", checkpoint);
  if (reading.loss) {
    const auto loss = static_cast<float>(*reading.loss);
    file.write("loss", std::span(&loss, 1));
  }
  for (const AttentionMaps& maps : reading.maps) write_maps(file, maps);
  file.commit(IfExists::kReplace);
}

}  // namespace trireme
