// Folders that are not what they should be: what the user is told, and that nothing is left behind.
#include <cstring>
#include <limits>

#include <gmock/gmock.h>

#include "data/durable_file.h"
#include "tests/support/throws.h"
#include "tests/trainer/hugging_face/folders.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class HuggingFaceRefusal : public testing::Test {
 protected:
  // A fresh copy of a golden folder.
  fs::path copy_of(const std::string& name) {
    fs::remove_all(dir_ / "copy");
    fs::copy(golden_folder(name), dir_ / "copy");
    return dir_ / "copy";
  }
  template <typename Matcher>
  void refuse(const fs::path& folder, Matcher message) {
    EXPECT_THAT([&] { import_folder(folder, dir_ / "run"); }, ThrowsUserError(message));
    EXPECT_EQ(std::distance(fs::directory_iterator(dir_.path()), fs::directory_iterator()), 1)
        << "something is left";
  }
  void refuse_config(const std::string& name, const std::function<void(nlohmann::json&)>& change,
                     const std::string& what) {
    const fs::path folder = copy_of(name);
    auto json = json_of(folder / "config.json");
    change(json);
    write_durably(folder / "config.json", json.dump(), IfExists::kReplace);
    refuse(folder, AllOf(StartsWith((folder / "config.json").string() + ": "), HasSubstr(what)));
  }
  // Replaces model.safetensors by one with this header and so many bytes of elements.
  void refuse_header(const std::string& header, std::size_t num_bytes, const std::string& what) {
    const fs::path folder = copy_of("gpt2");
    write_file(folder / "model.safetensors", header, num_bytes);
    refuse(folder, AllOf(StartsWith((folder / "model.safetensors").string()), HasSubstr(what)));
  }
  static void write_file(const fs::path& file, const std::string& header, std::size_t num_bytes) {
    std::string bytes(8, '\0');
    const std::uint64_t length = header.size();
    for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
    write_durably(file, bytes + header + std::string(num_bytes, '\0'), IfExists::kReplace);
  }
  static std::size_t tensor_bytes(const fs::path& folder) {
    std::size_t bytes = 0;
    for (const auto& [name, tensor] : bytes_of_tensors(folder)) bytes += tensor.size();
    return bytes;
  }
  // Writes the tensors of a golden model of float32 anew, changed.
  fs::path with_tensors(
      const std::string& name,
      const std::function<void(std::map<std::string, std::vector<std::int64_t>>&)>& change) {
    const fs::path folder = copy_of(name);
    std::map<std::string, std::vector<std::int64_t>> shapes;
    {
      const SafetensorsFile file(folder / "model.safetensors");
      for (const auto& [tensor, entry] : file.tensors()) shapes[tensor] = entry.shape;
    }
    change(shapes);
    fs::remove(folder / "model.safetensors");
    std::vector<SafetensorsWriter::Entry> entries;
    std::size_t count = 0;
    for (const auto& [tensor, shape] : shapes) {
      entries.push_back({tensor, shape});
      std::size_t elements = 1;
      for (const std::int64_t dim : shape) elements *= static_cast<std::size_t>(dim);
      count += elements;
    }
    SafetensorsWriter writer(folder / "model.safetensors", entries, StoredType::kFloat32);
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i);
    writer.write(values);
    writer.commit();
    return folder;
  }

  const TempDir dir_;
};

TEST_F(HuggingFaceRefusal, NamesWhatConfigAsksFor) {
  refuse_config(
      "gpt2", [](auto& j) { j["model_type"] = "mamba"; },
      "'model_type' is \"mamba\", an architecture that is not supported; supported are gpt2");
  refuse_config(
      "gpt2", [](auto& j) { j.erase("model_type"); }, "no key 'model_type'");
  refuse_config(
      "gpt2", [](auto& j) { j.erase("n_layer"); }, "no key 'n_layer'");
  refuse_config(
      "gpt2", [](auto& j) { j["n_layer"] = "two"; }, "'n_layer' has a value of the wrong type");
  refuse_config(
      "gpt2", [](auto& j) { j["n_layer"] = -2; }, "'n_layer' is -2, and must be from 1 to 10000");
  refuse_config(
      "gpt2", [](auto& j) { j["n_layer"] = 1'000'000'000; }, "'n_layer' is 1000000000, and must be");
  refuse_config(
      "gpt2", [](auto& j) { j["n_embd"] = std::numeric_limits<std::int64_t>::max(); }, "'n_embd' is 9223");
  refuse_config(
      "llama", [](auto& j) { j["hidden_size"] = 1'000'000'000'000; }, "'hidden_size' is 1000000000000, and");
  refuse_config(
      "llama", [](auto& j) { j["hidden_size"] = 1e12; }, "'hidden_size' ");
  refuse_config(
      "llama", [](auto& j) { j["vocab_size"] = 0; }, "'vocab_size' is 0, and must be from 1 to 16777216");
  refuse_config(
      "bert", [](auto& j) { j["type_vocab_size"] = -1; }, "'type_vocab_size' is -1");
  refuse_config(
      "bert", [](auto& j) { j["max_position_embeddings"] = 1 << 30; }, "'max_position_embeddings' is");
  refuse_config(
      "gpt2", [](auto& j) { j["n_head"] = 5; }, "5 heads, which don't divide its width, 12");
  refuse_config(
      "gpt2", [](auto& j) { j["scale_attn_by_inverse_layer_idx"] = true; },
      "'scale_attn_by_inverse_layer_idx' is true, which is not supported");
  refuse_config(
      "gpt2", [](auto& j) { j["scale_attn_weights"] = false; }, "'scale_attn_weights' is false");
  refuse_config(
      "gpt2", [](auto& j) { j["activation_function"] = "quick_gelu"; },
      "'activation_function' is \"quick_gelu\"");
  refuse_config(
      "gpt2",
      [](auto& j) {
        j["quantization_config"] = {{"bits", 4}};
      },
      "'quantization_config' is {\"bits\":4}");
  refuse_config(
      "llama", [](auto& j) { j["attention_bias"] = true; }, "'attention_bias' is true");
  refuse_config(
      "llama", [](auto& j) { j["mlp_bias"] = true; }, "'mlp_bias' is true");
  refuse_config(
      "llama", [](auto& j) { j["hidden_act"] = "gelu_pytorch_tanh"; },
      "'hidden_act' is \"gelu_pytorch_tanh\"");
  refuse_config(
      "llama", [](auto& j) { j["num_key_value_heads"] = 3; },
      "4 heads, which 3 of keys and values don't divide");
  refuse_config(
      "llama", [](auto& j) { j["head_dim"] = 5; }, "the odd width 5");
  refuse_config(
      "llama",
      [](auto& j) {
        j["rope_parameters"] = {{"rope_type", "longrope"}};
      },
      "'rope_parameters' is {\"rope_type\":\"longrope\"}");
  refuse_config(
      "llama", [](auto& j) { j["rope_parameters"]["partial_rotary_factor"] = 0.5; }, "'rope_parameters' is");
  refuse_config(
      "llama_stretched", [](auto& j) { j["rope_parameters"]["low_freq_factor"] = 4.0; },
      "'rope_parameters' is");
  refuse_config(
      "llama_stretched", [](auto& j) { j["rope_parameters"]["factor"] = 0.5; }, "'rope_parameters' is");
  refuse_config(
      "qwen2_window", [](auto& j) { j["layer_types"][1] = "full_attention"; }, "'layer_types' is");
  refuse_config(
      "qwen2_window",
      [](auto& j) {
        j.erase("layer_types");
        j["max_window_layers"] = 1;
      },
      "'max_window_layers' is 1");
}

// Within all bounds, and yet no such files: nothing is allocated before that is seen.
TEST_F(HuggingFaceRefusal, AllocatesNothingForWhatIsNotThere) {
  const fs::path folder = copy_of("llama");
  auto config = json_of(folder / "config.json");
  config["hidden_size"] = config["intermediate_size"] = 1 << 20;
  config["num_hidden_layers"] = 100;
  write_durably(folder / "config.json", config.dump(), IfExists::kReplace);
  refuse(folder, HasSubstr("model.layers.2.input_layernorm.weight is missing and 883 more"));
}

TEST_F(HuggingFaceRefusal, ComparesNoElementsOfOtherTypes) {
  const fs::path folder = copy_of("gpt2");
  const std::string original = read_whole_file(folder / "model.safetensors");
  std::string header = original.substr(8);
  header = header.substr(0, header.rfind("}}") + 1);
  const std::size_t elements = tensor_bytes(folder);
  header += R"(,"lm_head.weight":{"dtype":"I8","shape":[61,12],"data_offsets":[)" + std::to_string(elements) +
            "," + std::to_string(elements + 61 * 12) + "]}}";
  write_file(folder / "model.safetensors", header, elements + 61 * 12);
  refuse(folder, HasSubstr("lm_head.weight is not transformer.wte.weight"));
}

TEST_F(HuggingFaceRefusal, NamesEachTensor) {
  const std::string norm = "transformer.h.1.ln_2.weight";
  const std::string bias = "transformer.h.0.attn.c_attn.bias";
  const fs::path folder = with_tensors("gpt2", [&](auto& shapes) {
    shapes.erase(norm);
    shapes.erase(bias);
    shapes["transformer.wpe.weight"] = {12, 16};
    shapes["transformer.h.0.adapter.weight"] = {3};
  });
  refuse(folder, AllOf(StartsWith(folder.string() + ": "), HasSubstr(norm + " is missing"),
                       HasSubstr(bias + " is missing"),
                       HasSubstr("transformer.wpe.weight is [12, 16] instead of [16, 12]"),
                       HasSubstr("transformer.h.0.adapter.weight is none of this architecture's")));
  refuse(with_tensors("gpt2",
                      [](auto& shapes) {
                        shapes["lm_head.weight"] = {61, 12};
                      }),
         HasSubstr("lm_head.weight is not transformer.wte.weight, though tie_word_embeddings says so"));
  // Masks that older versions have saved are no weights.
  import_folder(with_tensors("gpt2",
                             [](auto& shapes) {
                               shapes["transformer.h.0.attn.bias"] = {1, 1, 16, 16};
                             }),
                dir_ / "run");
}

TEST_F(HuggingFaceRefusal, ChecksTheHeader) {
  const std::string one = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  refuse_header(one, 7, "instead of the");
  refuse_header(one, 9, "instead of the");
  refuse_header("[]", 0, "no object");
  refuse_header("{", 0, "not valid JSON");
  refuse_header(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8,
                "a: has a shape, [3], that its place");
  refuse_header(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "a: has a shape, [-2]");
  refuse_header(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0,
                "a: has a shape");
  refuse_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "a: has a shape");
  refuse_header(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
      12, "overlap or leave a gap");
  refuse_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12, "overlap or leave a gap");
  refuse_header(R"({"a":{"dtype":"Q4","shape":[2],"data_offsets":[0,8]}})", 8,
                "a: has elements of an unknown type, Q4");
  const fs::path folder = copy_of("gpt2");
  write_durably(folder / "model.safetensors", "short", IfExists::kReplace);
  refuse(folder, HasSubstr("too short"));
  write_durably(folder / "model.safetensors", std::string(100, '\xFF'), IfExists::kReplace);
  refuse(folder, HasSubstr("no whole safetensors file"));
}

TEST_F(HuggingFaceRefusal, ChecksTheShards) {
  fs::path folder = copy_of("llama");
  fs::remove(folder / "model-00002-of-00005.safetensors");
  refuse(folder, HasSubstr("model-00002-of-00005.safetensors"));
  const auto change_index = [&](const std::string& tensor, const char* file) {
    folder = copy_of("llama");
    auto index = json_of(folder / "model.safetensors.index.json");
    if (file == nullptr) {
      index["weight_map"].erase(tensor);
    } else {
      index["weight_map"][tensor] = file;
    }
    write_durably(folder / "model.safetensors.index.json", index.dump(), IfExists::kReplace);
  };
  change_index("model.norm.weight", "model-00001-of-00005.safetensors");
  refuse(folder, HasSubstr("model-00001-of-00005.safetensors: doesn't hold model.norm.weight"));
  change_index("model.norm.weight", "../copy/model-00001-of-00005.safetensors");
  refuse(folder, HasSubstr("names no file of this folder for model.norm.weight"));
  change_index("model.norm.weight", nullptr);
  refuse(folder, HasSubstr("holds model.norm.weight, of which the index knows nothing"));
  fs::remove(folder / "model.safetensors.index.json");
  refuse(folder, HasSubstr("has neither model.safetensors nor model.safetensors.index.json"));
}

TEST_F(HuggingFaceRefusal, NamesWhatIsThereAlready) {
  import_folder(golden_folder("gpt2"), dir_ / "run");
  EXPECT_THAT([&] { import_folder(golden_folder("gpt2"), dir_ / "run"); },
              ThrowsUserError(HasSubstr("is there already")));
  export_run(dir_ / "run", dir_ / "out");
  EXPECT_THAT([&] { export_run(dir_ / "run", dir_ / "out"); },
              ThrowsUserError(HasSubstr("is there already")));
}

TEST_F(HuggingFaceRefusal, NamesWhatATokenizerAsksFor) {
  const fs::path folder = copy_of("gpt2");
  write_durably(folder / "tokenizer.json", R"({"model": {"type": "Unigram", "vocab": []}})");
  refuse(folder,
         AllOf(HasSubstr("tokenizer.json: key 'model.type' is \"Unigram\""), HasSubstr("--no-tokenizer")));
  SelfCommunicator alone;
  import_hugging_face({.folder = folder, .run = dir_ / "run", .with_tokenizer = false}, alone);
  EXPECT_FALSE(fs::exists(dir_ / "run/tokenizer.json"));
}

}  // namespace
}  // namespace trireme
