#include "trainer/hugging_face/import.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "data/json.h"
#include "data/manifest.h"
#include "data/staging_folder.h"
#include "data/tokenizer/tokenizer.h"
#include "data/user_error.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/folders.h"
#include "trainer/checkpoint/pieces.h"
#include "trainer/hugging_face/file_names.h"
#include "trainer/hugging_face/left_out.h"
#include "trainer/hugging_face/model_config.h"
#include "trainer/hugging_face/tensor_places.h"
#include "trainer/hugging_face/weights.h"
#include "trainer/model/masked_language_model.h"
#include "trainer/model/transformer.h"
#include "trainer/trainer.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kPieceElements = 1 << 20;  // read at a time where they are turned

// The names that a folder's tensors have: with the prefix, unless the model was saved without its output
// layer.
class TensorNames {
 public:
  TensorNames(Architecture architecture, const HuggingFaceWeights& weights)
      : prefix_(name_prefix(architecture)) {
    const std::vector<std::string> names = weights.names();
    if (std::none_of(names.begin(), names.end(), [&](const auto& name) { return name.starts_with(prefix_); }))
      prefix_.clear();
  }
  std::string full(const std::string& name) const { return is_of_head(name) ? name : prefix_ + name; }
  std::string bare(const std::string& name) const {
    return name.starts_with(prefix_) ? name.substr(prefix_.size()) : name;
  }

 private:
  std::string prefix_;
};

// Gathers all that is wrong, so that one error names it.
class Complaints {
 public:
  void add(const std::string& what) {
    if (++count_ <= kMost) text_ += (text_.empty() ? "" : ", ") + what;
  }
  void throw_any(const fs::path& folder) const {
    if (count_ == 0) return;
    const std::string more = count_ > kMost ? " and " + std::to_string(count_ - kMost) + " more" : "";
    throw UserError(folder.string(),
                    "doesn't hold the tensors that its config.json asks for: " + text_ + more,
                    "fetch or save the model again");
  }

 private:
  static constexpr int kMost = 20;
  int count_ = 0;
  std::string text_;
};

bool same_elements(const HuggingFaceWeights& weights, const std::string& a, const std::string& b) {
  for (const std::string& name : {a, b}) {
    if (weights.entry(name).type == StoredType::kOther || weights.entry(name).shape != weights.entry(a).shape)
      return false;
  }
  const std::int64_t count = weights.entry(a).num_elements;
  std::vector<float> of_a(static_cast<std::size_t>(std::min(count, kPieceElements)));
  std::vector<float> of_b(of_a.size());
  for (std::int64_t first = 0; first < count; first += kPieceElements) {
    const auto size = static_cast<std::size_t>(std::min(kPieceElements, count - first));
    weights.read(a, first, std::span(of_a).first(size));
    weights.read(b, first, std::span(of_b).first(size));
    if (!std::equal(of_a.begin(), of_a.begin() + static_cast<std::ptrdiff_t>(size), of_b.begin()))
      return false;
  }
  return true;
}

void check_tensors(const fs::path& folder, const HuggingFaceModel& model,
                   const std::vector<TensorPlace>& places, const TensorNames& names,
                   const HuggingFaceWeights& weights, std::vector<std::string>& left_out) {
  Complaints complaints;
  std::set<std::string> known;
  for (const TensorPlace& place : places) {
    const std::string name = names.full(place.name);
    known.insert(name);
    if (!weights.contains(name)) {
      complaints.add(name + " is missing");
    } else if (const auto& entry = weights.entry(name); entry.type == StoredType::kOther) {
      complaints.add(name + " is of a type other than F32, BF16 and F16");
    } else if (entry.shape != place.shape) {
      complaints.add(name + " is " + to_string(entry.shape) + " instead of " + to_string(place.shape));
    }
  }
  for (const std::string& name : weights.names()) {
    const std::string bare = names.bare(name);
    if (known.contains(name) || is_constant(model.architecture, bare)) continue;
    if (is_left_out(model.architecture, bare)) {
      if (weights.entry(name).type == StoredType::kOther)
        complaints.add(name + " is of a type other than F32, BF16 and F16");
      left_out.push_back(name);
      continue;
    }
    const std::string other(tied_to(model.architecture, bare));
    if (other.empty() || !weights.contains(names.full(other))) {
      complaints.add(name + " is none of this architecture's");
    } else if (!same_elements(weights, name, names.full(other))) {  // tied, and yet there
      complaints.add(name + " is not " + names.full(other) + ", though tie_word_embeddings says so");
    }
  }
  complaints.throw_any(folder);
}

// Reads a tensor [inputs, outputs] into [outputs, inputs].
void read_transposed(const HuggingFaceWeights& weights, const std::string& name, const TensorPlace& place,
                     float* out) {
  const std::int64_t inputs = place.shape[0];
  const std::int64_t outputs = place.shape[1];
  const std::int64_t rows = std::max<std::int64_t>(1, kPieceElements / outputs);
  std::vector<float> piece(static_cast<std::size_t>(std::min(rows, inputs) * outputs));
  for (std::int64_t begin = 0; begin < inputs; begin += rows) {
    const std::int64_t count = std::min(rows, inputs - begin);
    weights.read(name, begin * outputs, std::span(piece).first(static_cast<std::size_t>(count * outputs)));
    for (std::int64_t o = 0; o < outputs; ++o) {
      for (std::int64_t i = 0; i < count; ++i)
        out[o * inputs + begin + i] = piece[static_cast<std::size_t>(i * outputs + o)];
    }
  }
}

void read_parameters(const HuggingFaceWeights& weights, const std::vector<TensorPlace>& places,
                     const TensorNames& names, const Tensor& values) {
  std::fill_n(values.data<float>(), values.num_elements(), 0.0F);  // the gaps
  for (const TensorPlace& place : places) {
    const std::string name = names.full(place.name);
    float* const out = values.data<float>() + place.offset;
    if (place.transposed) {
      read_transposed(weights, name, place, out);
    } else {
      weights.read(name, 0, {out, static_cast<std::size_t>(weights.entry(name).num_elements)});
    }
  }
}

std::vector<LeftOutTensor> read_left_out(const HuggingFaceWeights& weights, const TensorNames& names,
                                         const std::vector<std::string>& left_out) {
  std::vector<LeftOutTensor> tensors;
  for (const std::string& name : left_out) {
    const auto& entry = weights.entry(name);
    LeftOutTensor& tensor = tensors.emplace_back(
        LeftOutTensor{.name = names.bare(name),
                      .shape = entry.shape,
                      .values = std::vector<float>(static_cast<std::size_t>(entry.num_elements))});
    weights.read(name, 0, tensor.values);
  }
  return tensors;
}

// Of our parameters.
struct Layout {
  std::vector<CheckpointEntry> entries;
  std::int64_t num_elements = 0;    // with the gaps
  std::int64_t num_parameters = 0;  // without
};

template <typename Model>
Layout layout_of_kind(const TransformerOptions& options) {
  Model model(options, ParameterMemory::kNone);
  const ParameterBuffer& parameters = model.parameters();
  return {layout_of(parameters), parameters.num_elements(), parameters.num_parameters()};
}

Layout layout_of_model(const TransformerOptions& options) {
  return options.kind == ModelKind::kEncoder ? layout_of_kind<MaskedLanguageModel>(options)
                                             : layout_of_kind<Transformer>(options);
}

// The model as a config to go on from.
std::string config_of(const std::string& model_json, const fs::path& run) {
  std::string text =
      "# An imported model.  To train it further, on data that were prepared with its tokenizer "
      "(tokenizer.json\n"
      "# beside this file):\n"
      "#\n"
      "#     trireme train config.toml run.directory=NEW data.path=DATA train.batch_sequences=8 "
      "optim.learning_rate=2e-5\n\n[train]\ninit_from = " +
      Json(fs::absolute(run).lexically_normal().string()).dump() + "\n\n[model]\n";
  const Json model = parse_json(model_json, "the model");
  for (const auto& [key, value] : model.items()) text += key + " = " + value.dump() + "\n";
  return text;
}

void add_tokenizer(const ImportOptions& options, const fs::path& run, std::int64_t vocabulary,
                   ImportSummary& summary) {
  if (!options.with_tokenizer) return;
  for (const char* name : {kFastTokenizerFile, kSentencePieceFile, kVocabularyFile}) {
    const fs::path file = options.folder / name;
    if (!fs::exists(file)) continue;
    try {
      const auto tokenizer = import_tokenizer(file, options.end_of_document);
      if (tokenizer->vocab_size() > vocabulary) {
        throw UserError(file.string(),
                        "has " + std::to_string(tokenizer->vocab_size()) + " tokens, and the model knows " +
                            std::to_string(vocabulary),
                        "fetch the tokenizer of this model");
      }
      save_tokenizer(*tokenizer, run / kTokenizerFile);
    } catch (const UserError& error) {
      throw UserError(error.what(), "the weights alone are imported with --no-tokenizer", "");
    }
    summary.tokenizer = name;
    return;
  }
}

}  // namespace

ImportSummary import_hugging_face(const ImportOptions& options, Communicator& communicator) {
  if (fs::exists(options.run) && !fs::is_empty(options.run))
    throw UserError(options.run.string(), "is there already", "choose another --output");
  const fs::path config = options.folder / kModelConfigFile;
  HuggingFaceModel model = parse_model_config(read_whole_file(config), config.string());
  if (options.context > 0 && model.options.positions == Positions::kLearned)
    throw UserError("--context", "the model has a learned position for each of its tokens", "leave it out");
  if (options.context > 0) model.options.context = options.context;
  const HuggingFaceWeights weights(options.folder);
  const TensorNames names(model.architecture, weights);
  const Layout described = layout_of_model(model.options);
  const std::vector<TensorPlace> places = tensor_places(model, described.entries);
  ImportSummary summary{.architecture = std::string(name_of(model.architecture)),
                        .num_parameters = described.num_parameters};
  check_tensors(options.folder, model, places, names, weights, summary.left_out);

  StagingFolder staging(options.run);
  add_tokenizer(options, staging.path(), model.options.vocabulary, summary);
  const Buffer memory(described.num_elements * size_bytes(DType::kFloat32));
  const Tensor values = memory.tensor(DType::kFloat32, {described.num_elements});
  read_parameters(weights, places, names, values);
  CheckpointContents contents;
  contents.layout = described.entries;
  contents.num_elements = described.num_elements;
  contents.tensors = {{"parameters", values, pieces_of(contents.layout)}};
  contents.model_json = model.options.to_json();
  if (const auto failure = save_checkpoint(staging.path(), contents, {}, communicator))
    throw UserError(options.run.string(), *failure, "make room and import again");
  write_left_out_tensors(checkpoint_folder(staging.path(), 0),
                         read_left_out(weights, names, summary.left_out));
  write_durably(staging.path() / kConfigFile, config_of(contents.model_json, options.run));
  staging.publish(IfExists::kRefuse);
  summary.checkpoint = checkpoint_folder(options.run, 0);
  return summary;
}

}  // namespace trireme
