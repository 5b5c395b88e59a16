#include "trainer/hugging_face/left_out.h"

#include "data/checksum.h"
#include "data/hdf5_file.h"
#include "data/json.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr const char* kFile = "left_out.h5";
constexpr const char* kLayout = "layout";  // [{"name", "shape"}, ...]
constexpr const char* kLayoutChecksum = "layout_xxh3";

}  // namespace

void write_left_out_tensors(const std::filesystem::path& checkpoint, std::span<const LeftOutTensor> tensors) {
  if (tensors.empty()) return;
  Json layout = Json::array();
  for (const LeftOutTensor& tensor : tensors)
    layout.push_back({{"name", tensor.name}, {"shape", tensor.shape}});
  const std::string text = layout.dump();
  Hdf5Writer file(checkpoint / kFile);
  file.set_attribute("format", std::string("trireme left out"));
  file.set_attribute(kLayout, text);
  file.set_attribute(kLayoutChecksum, to_hex(checksum_of(text)));
  for (const LeftOutTensor& tensor : tensors) file.write<float>(tensor.name, tensor.values);
  file.commit();
}

std::vector<LeftOutTensor> read_left_out_tensors(const std::filesystem::path& checkpoint) {
  const std::filesystem::path path = checkpoint / kFile;
  if (!std::filesystem::exists(path)) return {};
  const Hdf5Reader file(path);
  const std::string text = file.text_attribute(kLayout);
  if (to_hex(checksum_of(text)) != file.text_attribute(kLayoutChecksum))
    throw UserError(path.string(), "was changed since it was written", "import the model again");
  std::vector<LeftOutTensor> tensors;
  for (const Json& one : parse_json(text, path.string())) {
    const auto name = json_value<std::string>(one, "name", path.string());
    tensors.push_back({.name = name,
                       .shape = json_value<std::vector<std::int64_t>>(one, "shape", path.string()),
                       .values = file.read_all<float>(name)});
  }
  return tensors;
}

}  // namespace trireme
