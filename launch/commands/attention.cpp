#include "launch/commands/attention.h"

#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "data/durable_file.h"
#include "data/user_error.h"
#include "parallel/process.h"
#include "trainer/attention_file.h"
#include "trainer/attention_maps.h"
#include "trainer/attention_page.h"
#include "trainer/load_model.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::string model;
  std::optional<std::string> text;
  std::optional<std::string> target;
  std::string output;
};

// Of standard input, without the line's end that a shell puts there.
std::string all_input() {
  std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

void check_output(const fs::path& path) {
  if (path.empty()) return;
  if (path.extension() != ".html") {
    throw UserError("--output", path.string() + " does not end in .html", "name the page");
  }
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (!fs::is_directory(folder)) {
    throw UserError("--output", "there is no folder " + folder.string(), "make it, or name another");
  }
}

void look_at_attention(const Arguments& arguments, Process& process) {
  if (process.num_ranks() > 1) {
    throw UserError("trireme attention", "runs in one process", "start it without mpirun");
  }
  check_output(arguments.output);
  const ModelKind kind = kind_of_model(arguments.model);
  if (arguments.target && kind != ModelKind::kEncoderDecoder) {
    throw UserError("--target", "is for a model that translates, which " + arguments.model + " does not",
                    "leave it out");
  }
  AttentionPage page;
  page.text = arguments.text ? *arguments.text : all_input();
  AttentionReading reading;
  fs::path checkpoint;
  if (kind == ModelKind::kEncoderDecoder) {
    TrainedTranslator trained = load_translator(arguments.model, /*average=*/1, process.world());
    reading = read_attention(trained, page.text, arguments.target);
    checkpoint = trained.checkpoint;
    page.target = trained.tokenizer->decode(reading.maps.front().queries.tokens);
  } else if (kind == ModelKind::kEncoder) {
    TrainedMaskedModel trained = load_masked_model(arguments.model, process.world());
    reading = read_attention(trained, page.text);
    checkpoint = trained.checkpoint;
  } else {
    TrainedModel trained = load_model(arguments.model, process.world());
    reading = read_attention(trained, page.text);
    checkpoint = trained.checkpoint;
  }

  const fs::path run = fs::absolute(checkpoint).lexically_normal().parent_path().parent_path();
  const fs::path path = arguments.output.empty() ? run / "attention.html" : fs::path(arguments.output);
  const fs::path raw = fs::path(path).replace_extension(".h5");
  page.title = run.filename();
  page.subtitle = "Attention of " + checkpoint.filename().string();
  page.raw_file = raw.filename();
  write_attention_file(raw, reading, (run.filename() / checkpoint.filename()).string());
  write_durably(path, attention_page(reading, page), IfExists::kReplace);
  std::cout << path.string() << '\n';
}

}  // namespace

void add_attention_command(CLI::App& app, Process& process) {
  CLI::App* command =
      app.add_subcommand("attention", "Show what each attention head looks at in a text, as one HTML page");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("model", arguments->model, "A run's directory, or one of its checkpoints")->required();
  command->add_option("--text", arguments->text,
                      "What to read, [MASK] for what an encoder is to guess; of a model that translates, the "
                      "source; default: standard input");
  command->add_option("--target", arguments->target,
                      "A translation of it; default: the one that the model makes");
  command->add_option("--output", arguments->output, "The page; default: RUN/attention.html");
  command->footer(
      "The page holds all it needs: a map of each layer and head, and entropy and mean distance of each.  "
      "Beside\n"
      "it the raw numbers are written as HDF5, under the page's name with .h5 (N counts layers from 0):\n"
      "  KIND/layer_N                     [heads, queries, keys] float32; each query's add up to 1; of a\n"
      "                                   looped model KIND/loop_M_layer_N, loops from 0, too\n"
      "  KIND/entropy, KIND/distance      [layers, heads] float32: means over queries, in nats and in "
      "tokens\n"
      "  KIND/query_texts, KIND/key_texts, and the same with _tokens: what queries and keys stand for\n"
      "where KIND is decoder, encoder or cross.\n"
      "\n"
      "Examples:\n"
      "  trireme attention runs/books --text \"It was the best of times\"\n"
      "  trireme attention runs/english_german --text \"two ships\" --target \"zwei Schiffe\"");
  command->callback([arguments, &process] { look_at_attention(*arguments, process); });
}

}  // namespace trireme
