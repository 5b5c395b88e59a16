// Tiny models of transformers (golden/make_hugging_face.py), in and out.
#include <cmath>

#include <gmock/gmock.h>

#include "tests/support/throws.h"
#include "tests/trainer/hugging_face/folders.h"
#include "trainer/checkpoint/load.h"
#include "trainer/checkpoint/pieces.h"
#include "trainer/hugging_face/model_config.h"
#include "trainer/load_model.h"
#include "trainer/model/transformer.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

class HuggingFaceDecoder : public testing::TestWithParam<const char*> {
 protected:
  const TempDir dir_;
};

// The logits behind each token, as generate() has them.
std::vector<std::vector<float>> logits_of(Transformer& model, std::vector<std::int32_t> tokens) {
  model.allocate({.batch = 1, .sequence = model.options().context});
  KeyValueCacheMemory memory(model.options(), 1);
  std::vector<std::vector<float>> rows;
  for (std::int32_t& token : tokens) {
    const Tensor logits = model.next_token_logits({&token, DType::kInt32, {1, 1}},
                                                  {.batch = 1, .sequence = 1, .cache = &memory.cache()});
    rows.emplace_back(logits.data<float>(), logits.data<float>() + logits.dim(1));
  }
  return rows;
}

TEST_P(HuggingFaceDecoder, HasTheLogitsOfTransformers) {
  import_folder(golden_folder(GetParam()), dir_ / "run");
  SelfCommunicator alone;
  const CheckpointManifest manifest = read_manifest(checkpoint_at(dir_ / "run"));
  Transformer model(TransformerOptions::from_json(manifest.model_json, "manifest"), ParameterMemory::kValues);
  load_tensors(checkpoint_at(dir_ / "run"), manifest, layout_of(model.parameters()),
               {{"parameters", model.parameters().values(), pieces_of(manifest.layout)}}, alone);
  const auto expected = json_of(golden_folder(GetParam()) / "expected.json");
  const auto rows = logits_of(model, expected["tokens"]);
  ASSERT_EQ(rows.size(), 9U);
  double largest = 0.0;
  for (std::size_t t = 0; t < rows.size(); ++t) {
    ASSERT_EQ(rows[t].size(), expected["logits"][t].size());
    for (std::size_t v = 0; v < rows[t].size(); ++v)
      largest = std::max(largest, std::abs(rows[t][v] - expected["logits"][t][v].get<double>()));
  }
  EXPECT_LT(largest, 1e-4);
  RecordProperty("largest_difference", std::to_string(largest));
}

// Each bit, of the type that the tensors have, and in shards of any size.
TEST_P(HuggingFaceDecoder, ComesOutAsItWentIn) {
  const fs::path folder = golden_folder(GetParam());
  import_folder(folder, dir_ / "run");
  export_run(dir_ / "run", dir_ / "whole");
  export_run(dir_ / "run", dir_ / "shards", StoredType::kFloat32, 3000);
  EXPECT_TRUE(fs::exists(dir_ / "whole/model.safetensors"));
  EXPECT_TRUE(fs::exists(dir_ / "shards/model.safetensors.index.json"));
  auto expected = tensors_of(folder);
  if (std::string(GetParam()) == "gpt2_bare") {  // which has the names of the model without its output layer
    std::map<std::string, std::vector<float>> with_prefix;
    for (auto& [name, values] : expected) with_prefix["transformer." + name] = values;
    expected = with_prefix;
  }
  EXPECT_EQ(tensors_of(dir_ / "whole"), expected);
  EXPECT_EQ(tensors_of(dir_ / "shards"), expected);
  EXPECT_EQ(bytes_of_tensors(dir_ / "shards"), bytes_of_tensors(dir_ / "whole"));
  const auto dtype = json_of(folder / "config.json").value("dtype", "");
  if (dtype == "float32" && std::string(GetParam()) != "gpt2_bare") {
    EXPECT_EQ(bytes_of_tensors(dir_ / "whole"), bytes_of_tensors(folder));
  }
  if (dtype == "bfloat16") {
    export_run(dir_ / "run", dir_ / "bf16", StoredType::kBFloat16);
    EXPECT_EQ(bytes_of_tensors(dir_ / "bf16"), bytes_of_tensors(folder));
  }
}

// What config.json says comes out again, and once more the same run goes in.
TEST_P(HuggingFaceDecoder, KeepsItsConfig) {
  const fs::path folder = golden_folder(GetParam());
  import_folder(folder, dir_ / "run");
  export_run(dir_ / "run", dir_ / "out");
  const auto before = json_of(folder / "config.json");
  const auto after = json_of(dir_ / "out/config.json");
  for (const auto& [key, value] : after.items()) {
    if (!before.contains(key) || before[key].is_null() || key == "architectures") continue;
    EXPECT_EQ(value, before[key]) << key;
  }
  import_folder(dir_ / "out", dir_ / "again");
  EXPECT_EQ(read_manifest(checkpoint_at(dir_ / "again")).to_json(),
            read_manifest(checkpoint_at(dir_ / "run")).to_json());
}

INSTANTIATE_TEST_SUITE_P(Models, HuggingFaceDecoder,
                         testing::Values("gpt2", "gpt2_bare", "llama", "llama_biases", "llama_stretched",
                                         "qwen2", "qwen2_yarn", "qwen2_window"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST(HuggingFaceExport, RefusesAModelThatIsNoneOfTheirs) {
  const TempDir dir;
  import_folder(golden_folder("llama"), dir / "run");
  CheckpointManifest manifest = read_manifest(checkpoint_at(dir / "run"));
  auto model = nlohmann::json::parse(manifest.model_json);
  model["norm"] = "layer";
  EXPECT_THAT([&] { architecture_of(TransformerOptions::from_json(model.dump(), "manifest"), "RUN"); },
              ThrowsUserError(testing::AllOf(testing::StartsWith("RUN: "),
                                             testing::HasSubstr("llama would need norm rms"),
                                             testing::HasSubstr("qwen2 would need norm rms, biases qkv"))));
}

}  // namespace
}  // namespace trireme
