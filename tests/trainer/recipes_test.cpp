#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "trainer/config.h"
#include "trainer/model/encoder_decoder.h"
#include "trainer/model/masked_language_model.h"
#include "trainer/model/transformer.h"

namespace trireme {
namespace {

const std::filesystem::path kConfigs = std::filesystem::path(TRIREME_SOURCE_DIR) / "configs";

struct Model {
  std::int64_t vocabulary;  // of the data that the recipe speaks of
  std::int64_t parameters;
};

// By name.  The numbers of GPT-2 and Llama are those of the published weights; the others are counted by
// hand.
const std::map<std::string, Model> kRecipes = {
    {"gpt2_124m", {50257, 124'439'808}},       {"gpt2_355m", {50257, 354'823'168}},
    {"gpt2_774m", {50257, 774'030'080}},       {"gpt2_1558m", {50257, 1'557'611'200}},
    {"llama_1b", {128256, 1'235'814'400}},     {"llama_8b", {128256, 8'030'261'248}},
    {"llama_70b", {128256, 70'553'706'496}},   {"transformer_base", {37000, 63'082'496}},
    {"transformer_big", {37000, 214'245'376}}, {"translate_small", {3000, 4'560'576}},
    {"quickstart", {2048, 3'749'376}},         {"tiny", {257, 34'720}},
    {"bert_base", {30522, 109'514'298}},
};

std::int64_t count_parameters(const TransformerOptions& options) {
  switch (options.kind) {
    case ModelKind::kDecoder:
      return Transformer(options, ParameterMemory::kNone).parameters().num_parameters();
    case ModelKind::kEncoderDecoder:
      return EncoderDecoder(options, ParameterMemory::kNone).parameters().num_parameters();
    case ModelKind::kEncoder:
      return MaskedLanguageModel(options, ParameterMemory::kNone).parameters().num_parameters();
  }
  return 0;
}

TEST(Recipes, EachLoadsAndIsTheModelOfItsName) {
  std::size_t found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs)) {
    const std::string name = entry.path().stem();
    if (entry.path().extension() != ".toml" || name == "reference") continue;
    SCOPED_TRACE(name);
    Config config;
    ASSERT_NO_THROW(config = load_config(entry.path().string(), {}));
    const auto recipe = kRecipes.find(name);
    ASSERT_NE(recipe, kRecipes.end()) << "has no row in this test";
    ++found;
    const auto& [vocabulary, parameters] = recipe->second;
    EXPECT_EQ(count_parameters(TransformerOptions::from_config(config.model, vocabulary)), parameters);
  }
  EXPECT_EQ(found, kRecipes.size()) << "a row of this test has no recipe";
}

TEST(Recipes, ProbesLoad) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs / "probes")) {
    if (entry.path().extension() != ".toml") continue;
    EXPECT_NO_THROW(load_config(entry.path().string(), {})) << entry.path();
    ++found;
  }
  EXPECT_GE(found, 6);
}

}  // namespace
}  // namespace trireme
