#include "launch/commands/prepare.h"

#include <chrono>
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "data/json.h"
#include "data/prepare.h"
#include "data/prepare_pairs.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr const char* kDescription =
    "Turn text, or pairs of sentences, into a data set: shards of tokens, and the tokenizer";
constexpr const char* kFooter = R"(
Inputs are text files, folders of them (at any depth, sorted; hidden files and links are skipped) and JSON Lines
(*.jsonl, *.ndjson); any of them may be packed by gzip or zstd.  Text of any size is read with bounded memory.  Bytes
that are no UTF-8 are kept as they are, and counted.

Examples:
  trireme prepare books/ --output data/books
  trireme prepare fortunes.txt --separator % --vocab-size 2048 --output data/fortunes
  trireme prepare dump.jsonl.zst --field content --tokenizer data/books/tokenizer.json --output data/dump
  trireme prepare books/ --tokenizer Llama-3.1-8B/tokenizer.json --output data/books-llama

Tokenizers: one that is trained sees all inputs, of pairs both sides, and they share its subwords.  Of Hugging Face,
byte-level BPE is taken (GPT-2, Llama 3, Qwen and relatives).  It goes into OUTPUT, and from there with each run.

Validation: documents are drawn by (seed, number of the document).  If that doesn't give about --validation-fraction
of the text, as with one large file, the end of every document is for validation instead.

Parallel text: --pairs takes tables (*.tsv: sentence, tabulator, translation) and message catalogs (*.mo, *.po), --source
and --target take text files whose lines belong together.  Empty sentences, duplicates and pairs with a side of more
than --max-tokens are left out, and counted.  Pairs are drawn for validation by a hash of the source: no source sentence
is in both parts.

  trireme prepare --pairs locale/de/ --output data/de
  trireme prepare --source news.en --target news.de --tokenizer sentencepiece --vocab-size 32000 --output data/news

OUTPUT appears when all of it is written and on the disk, and is not touched if anything fails.)";

struct Arguments {
  PrepareOptions options;
  std::string format = "auto";
  bool holds_pairs = false;
  std::vector<std::string> sources;
  std::vector<std::string> targets;
  std::int64_t max_tokens = PairPrepareOptions().max_tokens;
  bool json = false;
};

const std::map<std::string, TextFormat> kTextFormats = {
    {"auto", TextFormat::kAuto}, {"text", TextFormat::kText}, {"jsonl", TextFormat::kJsonl}};
const std::map<std::string, PairFormat> kPairFormats = {
    {"auto", PairFormat::kAuto}, {"tsv", PairFormat::kTsv}, {"mo", PairFormat::kMo}, {"po", PairFormat::kPo}};

// On a terminal a line that moves; else a line at the beginning of each phase and every half minute.
class ProgressPrinter {
 public:
  void operator()(const PrepareProgress& progress) {
    const auto now = std::chrono::steady_clock::now();
    const bool new_phase = phase_ != progress.phase;
    if (new_phase) {
      end_line();
      phase_ = progress.phase;
      begin_ = now;
    }
    if (!new_phase && progress.bytes_done == bytes_shown_) return;
    const bool done = progress.bytes_done == progress.bytes_total;
    if (!new_phase && !done &&
        now - shown_ < (on_terminal_ ? std::chrono::milliseconds(200) : std::chrono::seconds(30)))
      return;
    shown_ = now;
    bytes_shown_ = progress.bytes_done;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const double mib_done = static_cast<double>(progress.bytes_done) / (1 << 20);
    const double mib_total = static_cast<double>(progress.bytes_total) / (1 << 20);
    std::fprintf(stderr, "%s%s: %.1f of %.1f MiB", on_terminal_ ? "\r\033[K" : "", progress.phase, mib_done,
                 mib_total);
    if (seconds > 0.1) std::fprintf(stderr, ", %.1f MiB/s", mib_done / seconds);
    line_is_open_ = true;
    if (!on_terminal_) end_line();
  }
  void end_line() {
    if (line_is_open_) std::fputc('\n', stderr);
    line_is_open_ = false;
  }

 private:
  const bool on_terminal_ = ::isatty(STDERR_FILENO) != 0;
  std::string phase_;
  bool line_is_open_ = false;
  std::int64_t bytes_shown_ = 0;
  std::chrono::steady_clock::time_point begin_;
  std::chrono::steady_clock::time_point shown_;
};

void print_json(const PrepareSummary& summary, const std::string& output) {
  const Json json = {{"output", output},
                     {"files", summary.num_files},
                     {"documents", summary.num_documents},
                     {"bytes", summary.num_bytes},
                     {"documents_not_utf8", summary.num_not_utf8},
                     {"validation_is_documents_ends", summary.documents_cut},
                     {"tokenizer_training_bytes", summary.training_bytes},
                     {"manifest", parse_json(summary.manifest.to_json(), output)}};
  std::cout << json.dump(1) << std::endl;
}

void print_text(const PrepareSummary& summary, const std::string& output) {
  const Manifest& manifest = summary.manifest;
  std::printf("%s: %lld documents of %lld files, %.1f MiB of text\n", output.c_str(),
              static_cast<long long>(summary.num_documents), static_cast<long long>(summary.num_files),
              static_cast<double>(summary.num_bytes) / (1 << 20));
  std::printf("  tokenizer   %s, %lld tokens\n", manifest.tokenizer_kind.c_str(),
              static_cast<long long>(manifest.vocab_size));
  for (const auto& [name, split] : manifest.splits)
    std::printf("  %-10s  %lld tokens in %zu shards, %.2f bytes per token, unigram entropy %.3f nats\n",
                name.c_str(), static_cast<long long>(split.num_tokens), split.shards.size(),
                split.bytes_per_token(), split.unigram_entropy);
  if (summary.documents_cut) std::printf("  validation is the end of every document\n");
  if (summary.num_not_utf8 > 0)
    std::printf("  %lld documents are no UTF-8; their bytes are kept\n",
                static_cast<long long>(summary.num_not_utf8));
  std::fflush(stdout);
}

void print_json(const PairPrepareSummary& summary, const std::string& output) {
  const Json json = {{"output", output},
                     {"files", summary.num_files},
                     {"files_passed_over", summary.num_passed_over},
                     {"pairs_read", summary.read.read},
                     {"empty", summary.read.empty},
                     {"fuzzy", summary.read.fuzzy},
                     {"obsolete", summary.read.obsolete},
                     {"duplicates", summary.num_duplicates},
                     {"too_long", summary.num_too_long},
                     {"pairs_not_utf8", summary.num_not_utf8},
                     {"tokenizer_training_bytes", summary.training_bytes},
                     {"manifest", parse_json(summary.manifest.to_json(), output)}};
  std::cout << json.dump(1) << std::endl;
}

void print_text(const PairPrepareSummary& summary, const std::string& output) {
  const Manifest& manifest = summary.manifest;
  const auto print_count = [](std::int64_t count, const char* what) {
    if (count > 0) std::printf("  %lld %s\n", static_cast<long long>(count), what);
  };
  std::printf("%s: %lld pairs read from %lld files\n", output.c_str(),
              static_cast<long long>(summary.read.read), static_cast<long long>(summary.num_files));
  print_count(summary.num_passed_over, "files passed over: their names say nothing of pairs");
  print_count(summary.read.empty, "more left out: a side is empty");
  print_count(summary.read.fuzzy, "more left out: marked as fuzzy");
  print_count(summary.read.obsolete, "more left out: obsolete");
  print_count(summary.num_duplicates, "of them left out: duplicates");
  print_count(summary.num_too_long, "of them left out: a side has more than --max-tokens");
  print_count(summary.num_not_utf8, "of them are no UTF-8; their bytes are kept");
  std::printf("  tokenizer   %s, %lld tokens\n", manifest.tokenizer_kind.c_str(),
              static_cast<long long>(manifest.vocab_size));
  for (const auto& [name, split] : manifest.splits)
    std::printf(
        "  %-10s  %lld pairs in %zu shards, %lld tokens in sources, %lld in targets, %.2f bytes per token\n",
        name.c_str(), static_cast<long long>(split.num_documents), split.shards.size(),
        static_cast<long long>(split.num_source_tokens),
        static_cast<long long>(split.num_tokens - split.num_source_tokens), split.bytes_per_token());
  std::fflush(stdout);
}

template <typename Summary>
void print(const Summary& summary, const Arguments& arguments) {
  if (arguments.json) {
    print_json(summary, arguments.options.output);
  } else {
    print_text(summary, arguments.options.output);
  }
}

bool wants_pairs(const Arguments& arguments) {
  return arguments.holds_pairs || !arguments.sources.empty() || !arguments.targets.empty() ||
         !kTextFormats.contains(arguments.format);
}

void run_text(const Arguments& arguments) {
  if (arguments.options.inputs.empty())
    throw UserError("INPUT", "is missing", "name files or folders of text");
  PrepareOptions options = arguments.options;
  options.documents.format = kTextFormats.at(arguments.format);
  ProgressPrinter progress;
  const PrepareSummary summary = prepare(options, std::ref(progress));
  progress.end_line();
  print(summary, arguments);
}

void run_pairs(const Arguments& arguments) {
  if (!kPairFormats.contains(arguments.format))
    throw UserError("--format", "is '" + arguments.format + "', which holds no pairs",
                    "use auto, tsv, mo or po");
  if (!arguments.options.documents.separator.empty())
    throw UserError("--separator", "is for documents, not for pairs", "leave it out");
  const PairPrepareOptions options = {.inputs = {.inputs = arguments.options.inputs,
                                                 .format = kPairFormats.at(arguments.format),
                                                 .sources = arguments.sources,
                                                 .targets = arguments.targets},
                                      .max_tokens = arguments.max_tokens,
                                      .common = arguments.options};
  ProgressPrinter progress;
  const PairPrepareSummary summary = prepare_pairs(options, std::ref(progress));
  progress.end_line();
  print(summary, arguments);
}

void run(const Arguments& arguments) {
  if (wants_pairs(arguments)) {
    run_pairs(arguments);
  } else {
    run_text(arguments);
  }
}

void add_pair_options(CLI::App& command, Arguments& arguments) {
  command.add_flag("--pairs", arguments.holds_pairs,
                   "Inputs hold sentences and their translations: .tsv, .mo, .po");
  command.add_option("--source", arguments.sources, "Text file of sentences, one a line; may be repeated")
      ->allow_extra_args(false);
  command
      .add_option("--target", arguments.targets, "Text file of their translations, line by line; as often")
      ->allow_extra_args(false);
  command
      .add_option("--max-tokens", arguments.max_tokens,
                  "Of a sentence; pairs with a longer side are left out")
      ->capture_default_str();
}

}  // namespace

void add_prepare_command(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("prepare", kDescription);
  command.footer(kFooter);
  const auto arguments = std::make_shared<Arguments>();  // lives as long as the callback
  PrepareOptions& options = arguments->options;

  command.add_option("INPUT", options.inputs, "Files and folders of text, or of pairs");
  command.add_option("-o,--output", options.output, "Folder to make")->required();
  command.add_flag("--force", options.replace, "Replace a data set in OUTPUT, once the new one is whole");
  command.add_option("--format", arguments->format, "What the inputs are; 'auto' goes by their names")
      ->transform(CLI::IsMember({"auto", "text", "jsonl", "tsv", "mo", "po"}, CLI::ignore_case))
      ->option_text("auto|text|jsonl, or of pairs auto|tsv|mo|po [auto]");
  command.add_option("--separator", options.documents.separator,
                     "Line between two documents of a text file; without it a file is one document");
  command.add_option("--field", options.documents.field, "Member of a row of JSON Lines that holds the text")
      ->capture_default_str();
  command
      .add_option(
          "--tokenizer", options.tokenizer,
          "'byte'; 'bpe', 'sentencepiece' (unigram) or 'sentencepiece-bpe', trained on this text; or a "
          "file: the tokenizer.json of another data set or of Hugging Face, a *.model of SentencePiece, a "
          "vocab.txt of BERT")
      ->capture_default_str();
  command.add_option(
      "--end-of-document", options.end_of_document,
      "Token of a file of Hugging Face or SentencePiece that ends a document; by default a usual one, "
      "as <|endoftext|> or </s>");
  command.add_option("--vocab-size", options.vocab_size, "Tokens of a trained tokenizer")
      ->capture_default_str();
  command
      .add_option("--training-mib", options.training_mib,
                  "Text to train the tokenizer on, at most; of a larger corpus a sample is drawn")
      ->capture_default_str();
  command.add_option("--validation-fraction", options.validation_fraction, "Share of the text, 0 to 0.5")
      ->capture_default_str();
  command.add_option("--seed", options.seed, "Of the draw of validation documents")->capture_default_str();
  command
      .add_option("--shard-tokens", options.shard_tokens, "Tokens of a shard; each takes 4 bytes of memory")
      ->capture_default_str();
  add_pair_options(command, *arguments);
  command.add_flag("--json", arguments->json, "Print the summary as JSON");
  command.callback([arguments] { run(*arguments); });
}

}  // namespace trireme
