#include "launch/commands/checkpoint.h"

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "data/user_error.h"
#include "parallel/process.h"
#include "trainer/checkpoint/folders.h"
#include "trainer/checkpoint/load.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/hugging_face/export.h"
#include "trainer/hugging_face/import.h"
#include "trainer/hugging_face/left_out.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

void inspect(const std::string& path, bool json) {
  const fs::path folder =
      fs::exists(fs::path(path) / kManifestName) ? fs::path(path) : newest_checkpoint(path);
  const CheckpointManifest manifest = read_manifest(folder);
  std::cout << (json ? manifest.to_json() + "\n"
                     : "folder    " + folder.string() + "\n" + describe(manifest));
}

// Throws UserError for the first thing that is wrong.
void verify_one(const fs::path& folder, Process& process) {
  const CheckpointManifest manifest = read_manifest(folder);
  std::vector<CheckpointTensor> tensors;  // of which nothing is kept
  for (const auto& tensor : manifest.tensors) tensors.push_back({tensor.name, {}, {}});
  load_tensors(folder, manifest, manifest.layout, tensors, process.world());
  read_left_out_tensors(folder);
  if (process.rank() == 0) std::cout << folder.string() << " is whole\n";
}

// Of a run, all are looked at before the first that is damaged ends it.
void verify(const std::string& path, Process& process) {
  if (fs::exists(fs::path(path) / kManifestName)) return verify_one(path, process);
  const std::vector<fs::path> folders = find_checkpoints(path);
  if (folders.empty()) throw UserError(path, "holds no checkpoint", "name a run's directory or a checkpoint");
  int num_damaged = 0;
  for (const fs::path& folder : folders) {
    try {
      verify_one(folder, process);
    } catch (const UserError& damage) {
      ++num_damaged;
      if (process.rank() == 0) std::cout << damage.what() << "\n";
    }
  }
  if (num_damaged > 0) {
    throw UserError(
        path,
        std::to_string(num_damaged) + " of " + std::to_string(folders.size()) + " checkpoints are damaged",
        "training goes on from the newest that is whole; delete the others");
  }
}

void check_alone(const Process& process) {
  if (process.num_ranks() > 1)
    throw UserError("trireme checkpoint", "converts in one process", "start it without mpirun");
}

void import_folder(const ImportOptions& options, Process& process) {
  check_alone(process);
  const ImportSummary summary = import_hugging_face(options, process.world());
  std::cout << "a " << summary.architecture << " of " << summary.num_parameters << " parameters is now "
            << summary.checkpoint.string() << "\n";
  if (summary.tokenizer) {
    std::cout << "with its tokenizer, " << *summary.tokenizer << "\n";
  } else {
    std::cout << "without a tokenizer, which `trireme generate` would need\n";
  }
  for (const std::string& name : summary.left_out)
    std::cout << "beside it " << name << ", for which there is no layer: kept for `checkpoint export`\n";
}

void export_folder(const ExportOptions& options, Process& process) {
  check_alone(process);
  const ExportSummary summary = export_hugging_face(options, process.world());
  std::cout << summary.checkpoint.string() << " is now a " << summary.architecture << " in "
            << options.folder.string() << ", its weights in " << summary.num_files
            << (summary.num_files == 1 ? " file\n" : " files\n");
  if (summary.tokenizer) {
    std::cout << "with its tokenizer, " << *summary.tokenizer << "\n";
  } else {
    std::cout << "without a tokenizer: the run has none that Hugging Face has a form for\n";
  }
}

void add_import(CLI::App& command, Process& process) {
  CLI::App* importing =
      command.add_subcommand("import", "Make a run of a Hugging Face folder: gpt2, llama, qwen2, bert");
  const auto options = std::make_shared<ImportOptions>();
  importing->add_option("folder", options->folder, "Holds config.json, *.safetensors and the tokenizer")
      ->required();
  importing->add_option("--output", options->run, "The run's directory, to be made")->required();
  importing
      ->add_option("--context", options->context,
                   "Longest text in tokens, where positions are rotary; 0: the model's own, which may need "
                   "much memory")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  importing->add_option("--end-of-document", options->end_of_document,
                        "The token that ends a document; none: a usual one is found");
  importing->add_flag("!--no-tokenizer", options->with_tokenizer, "Only the weights");
  importing->footer(
      "Examples:\n"
      "  trireme checkpoint import Qwen2-0.5B/ --output runs/qwen2 --context 2048\n"
      "  trireme generate runs/qwen2 --prompt \"Once upon a time\"\n"
      "  trireme prepare texts/ --tokenizer runs/qwen2/tokenizer.json --output data/mine\n"
      "  trireme train runs/qwen2/config.toml run.directory=runs/tuned data.path=data/mine \\\n"
      "      train.batch_sequences=8 optim.learning_rate=2e-5");
  importing->callback([options, &process] { import_folder(*options, process); });
}

void add_export(CLI::App& command, Process& process) {
  CLI::App* exporting = command.add_subcommand("export", "Make a Hugging Face folder of a checkpoint");
  const auto options = std::make_shared<ExportOptions>();
  const auto type = std::make_shared<std::string>("f32");
  const auto shard_mib = std::make_shared<double>(5000.0);
  exporting->add_option("checkpoint", options->model, "A checkpoint's folder, or a run's, for its newest")
      ->required();
  exporting->add_option("--output", options->folder, "The folder, to be made")->required();
  exporting->add_option("--dtype", *type, "Type of the weights: bf16 rounds to the nearest")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  exporting->add_option("--shard-mib", *shard_mib, "Most in one file of weights")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  exporting->footer(
      "Example:\n"
      "  trireme checkpoint export runs/books --output books-gpt2 --dtype bf16\n"
      "  python3 -c 'from transformers import AutoModelForCausalLM as M; M.from_pretrained(\"books-gpt2\")'");
  exporting->callback([options, type, shard_mib, &process] {
    options->type = *type == "bf16" ? StoredType::kBFloat16 : StoredType::kFloat32;
    options->shard_bytes = static_cast<std::int64_t>(*shard_mib * (1 << 20));
    export_folder(*options, process);
  });
}

}  // namespace

void add_checkpoint_command(CLI::App& app, Process& process) {
  CLI::App* command =
      app.add_subcommand("checkpoint", "Look at checkpoints, check them, or exchange them with Hugging Face");
  command->require_subcommand(1);
  const auto path = std::make_shared<std::string>();
  const auto json = std::make_shared<bool>(false);

  CLI::App* inspecting = command->add_subcommand("inspect", "Print what a checkpoint holds");
  inspecting->add_option("path", *path, "A checkpoint's folder, or a run's, for its newest")->required();
  inspecting->add_flag("--json", *json, "The manifest, as it is");
  inspecting->callback([path, json, &process] {
    if (process.rank() == 0) inspect(*path, *json);
  });

  CLI::App* verifying = command->add_subcommand("verify", "Read every byte and check it");
  verifying->add_option("path", *path, "A checkpoint's folder, or a run's, for all that it has")->required();
  verifying->callback([path, &process] { verify(*path, process); });

  add_import(*command, process);
  add_export(*command, process);
}

}  // namespace trireme
