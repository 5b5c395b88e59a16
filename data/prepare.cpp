#include "data/prepare.h"

#include <algorithm>
#include <memory>
#include <sstream>
#include <system_error>
#include <utility>

#include <glog/logging.h>

#include "data/shard_writer.h"
#include "data/split_plan.h"
#include "data/staging_folder.h"
#include "data/text_sample.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/byte.h"
#include "data/tokenizer/sentencepiece.h"
#include "data/user_error.h"
#include "data/utf8.h"

namespace trireme {
namespace {

using Files = std::vector<std::filesystem::path>;
using OnProgress = std::function<void(const PrepareProgress&)>;

constexpr const char* kSentencePieceBpe = "sentencepiece-bpe";
constexpr std::int64_t kMaxVocabSize = 1 << 20;
constexpr std::int64_t kMaxShardTokens = std::int64_t{1} << 30;

}  // namespace

bool trains_tokenizer(const PrepareOptions& options) {
  return options.tokenizer == BpeTokenizer::kKind || options.tokenizer == SentencePieceTokenizer::kKind ||
         options.tokenizer == kSentencePieceBpe;
}

void check_options(const PrepareOptions& options) {
  const auto check_range = [](const char* option, double value, double low, double high) {
    if (value >= low && value <= high) return;
    std::ostringstream what;
    what << "is " << value << ", not between " << low << " and " << high;
    throw UserError(option, what.str(), "choose a value in between");
  };
  if (trains_tokenizer(options) && options.vocab_size < BpeTokenizer::kFirstMerge)
    throw UserError("--vocab-size",
                    "is " + std::to_string(options.vocab_size) + ": too small for the " +
                        std::to_string(BpeTokenizer::kFirstMerge) +
                        " tokens of bytes and the end of a document",
                    "choose more, such as 4096, or --tokenizer byte");
  if (!options.end_of_document.empty() &&
      (trains_tokenizer(options) || options.tokenizer == ByteTokenizer::kKind))
    throw UserError("--end-of-document", "is for tokenizers of other programs", "leave it out");
  check_range("--vocab-size", static_cast<double>(options.vocab_size), 0, kMaxVocabSize);
  check_range("--validation-fraction", options.validation_fraction, 0.0, 0.5);
  check_range("--shard-tokens", static_cast<double>(options.shard_tokens), 1, kMaxShardTokens);
  check_range("--training-mib", static_cast<double>(options.training_mib), 1, 1 << 20);

  std::error_code ignored;
  const std::filesystem::path output(options.output);
  if (output.empty()) throw UserError("--output", "is empty", "name a folder");
  if (!std::filesystem::exists(output, ignored)) return;
  if (!std::filesystem::is_directory(output, ignored))
    throw UserError(options.output, "is a file", "name a folder that isn't there yet");
  if (std::filesystem::exists(output / kManifestFile, ignored)) {
    if (!options.replace)
      throw UserError(options.output, "holds a data set already",
                      "choose another folder, or --force to replace it");
  } else if (!std::filesystem::is_empty(output, ignored)) {
    throw UserError(options.output, "holds files that are no data set", "choose another folder");
  }
}

namespace {

// The first reading: what is there.
class Survey final : public DocumentSink {
 public:
  Survey(const PrepareOptions& options, std::int64_t total_bytes, const OnProgress& on_progress)
      : planner_(options.validation_fraction, options.seed),
        sample_(options.training_mib << 20),
        wants_sample_(trains_tokenizer(options)),
        total_bytes_(total_bytes),
        on_progress_(on_progress) {}

  void add_bytes(std::string_view bytes) override {
    document_bytes_ += static_cast<std::int64_t>(bytes.size());
    utf8_.update(bytes);
    if (wants_sample_) sample_.add(bytes);
  }
  void end_document() override {
    planner_.add_document(document_bytes_);
    ++num_documents_;
    num_bytes_ += std::exchange(document_bytes_, 0);
    if (!utf8_.finish()) ++num_not_utf8_;
  }
  void report_progress(std::int64_t bytes_read) override {
    on_progress_({"surveying the text", bytes_read, total_bytes_});
  }

  std::int64_t num_documents() const { return num_documents_; }
  std::int64_t num_bytes() const { return num_bytes_; }
  std::int64_t num_not_utf8() const { return num_not_utf8_; }
  SplitPlan plan() { return planner_.finish(); }
  const TextSample& sample() const { return sample_; }

 private:
  SplitPlanner planner_;
  Utf8Checker utf8_;
  TextSample sample_;
  bool wants_sample_;
  std::int64_t total_bytes_;
  const OnProgress& on_progress_;
  std::int64_t document_bytes_ = 0;
  std::int64_t num_documents_ = 0;
  std::int64_t num_bytes_ = 0;
  std::int64_t num_not_utf8_ = 0;
};

// The second reading: text to tokens, into one split or the other.
class Encoding final : public DocumentSink {
 public:
  Encoding(Tokenizer& tokenizer, const SplitPlan& plan, ShardWriter& train, ShardWriter& validation,
           std::int64_t total_bytes, const OnProgress& on_progress)
      : tokenizer_(tokenizer),
        plan_(plan),
        train_(train),
        validation_(validation),
        total_bytes_(total_bytes),
        on_progress_(on_progress) {}

  void add_bytes(std::string_view bytes) override {
    if (!document_is_open_) open_document();
    text_ += bytes;
    num_bytes_ += static_cast<std::int64_t>(bytes.size());
    if (position_ + static_cast<std::int64_t>(text_.size()) > validation_begin_) cross_border();
    if (text_.size() < kPieceBytes) return;
    const std::size_t cut = tokenizer_.safe_cut(text_);
    encode(cut == 0 ? character_begin(text_.size() - 1) : cut);  // no safe place: between any two characters
  }
  void end_document() override {
    encode(text_.size());
    end_part();
    document_is_open_ = false;
    ++num_documents_;
  }
  void report_progress(std::int64_t bytes_read) override {
    on_progress_({"writing tokens", bytes_read, total_bytes_});
  }

  std::int64_t num_documents() const { return num_documents_; }
  std::int64_t num_bytes() const { return num_bytes_; }

 private:
  void open_document() {
    document_is_open_ = true;
    position_ = 0;
    validation_begin_ = plan_.validation_begin(num_documents_);
    split_ = &train_;
    if (validation_begin_ > 0) return;
    split_ = &validation_;
    validation_begin_ = SplitPlan::kNever;
  }

  // The rest of the document is for validation; no character of UTF-8 is cut.
  void cross_border() {
    encode(
        character_begin(static_cast<std::size_t>(std::max<std::int64_t>(validation_begin_ - position_, 0))));
    end_part();
    split_ = &validation_;
    validation_begin_ = SplitPlan::kNever;
  }

  // Where the character of UTF-8 begins that has the byte at `place` of what has been gathered.
  std::size_t character_begin(std::size_t place) const {
    for (int i = 0; i < 3 && place > 0 && (static_cast<unsigned char>(text_[place]) & 0xC0) == 0x80; ++i)
      --place;
    return place;
  }

  // The first `size` bytes of what has been gathered.
  void encode(std::size_t size) {
    if (size == 0) return;
    if (!part_is_open_) split_->begin_document();
    part_is_open_ = true;
    tokens_.clear();
    tokenizer_.encode(std::string_view(text_).substr(0, size), tokens_);
    split_->append(tokens_);
    split_->count_bytes(static_cast<std::int64_t>(size));
    text_.erase(0, size);
    position_ += static_cast<std::int64_t>(size);
  }

  void end_part() {
    const std::int32_t end = tokenizer_.end_of_document();
    if (part_is_open_) split_->append(std::span(&end, 1));
    part_is_open_ = false;
  }

  Tokenizer& tokenizer_;
  const SplitPlan& plan_;
  ShardWriter& train_;
  ShardWriter& validation_;
  std::int64_t total_bytes_;
  const OnProgress& on_progress_;

  std::string text_;           // of the document, not yet encoded
  std::int64_t position_ = 0;  // of text_ in the document
  std::int64_t validation_begin_ = SplitPlan::kNever;
  ShardWriter* split_ = nullptr;
  bool document_is_open_ = false;
  bool part_is_open_ = false;  // tokens of the document went to split_
  std::vector<std::int32_t> tokens_;
  std::int64_t num_documents_ = 0;
  std::int64_t num_bytes_ = 0;
};

std::unique_ptr<Tokenizer> train_tokenizer(const PrepareOptions& options, const TextSample& sample) {
  if (options.tokenizer == BpeTokenizer::kKind) {
    BpeTrainer trainer;
    for (const auto& [number, text] : sample.pieces()) trainer.add(text);
    return std::make_unique<BpeTokenizer>(trainer.train(static_cast<int>(options.vocab_size)));
  }
  std::vector<std::string_view> texts;
  for (const auto& [number, text] : sample.pieces()) texts.push_back(text);
  const bool is_bpe = options.tokenizer == kSentencePieceBpe;
  return train_sentencepiece(texts, is_bpe ? SentencePieceType::kBpe : SentencePieceType::kUnigram,
                             options.vocab_size);
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const PrepareOptions& options, const TextSample& sample) {
  if (options.tokenizer == ByteTokenizer::kKind) return std::make_unique<ByteTokenizer>();
  if (!trains_tokenizer(options)) {
    auto tokenizer = import_tokenizer(options.tokenizer, options.end_of_document);
    LOG_IF(WARNING, !tokenizer->losses().empty())
        << options.tokenizer << " does not keep all of a text; lost are " << tokenizer->losses();
    return tokenizer;
  }
  auto tokenizer = train_tokenizer(options, sample);
  LOG(INFO) << "trained a tokenizer of " << tokenizer->vocab_size() << " tokens on "
            << (sample.is_whole() ? "all " : "a sample of ") << sample.size_bytes() << " bytes of text";
  LOG_IF(WARNING, tokenizer->vocab_size() < options.vocab_size)
      << "the text has no more pieces that occur twice: the vocabulary has " << tokenizer->vocab_size()
      << " tokens instead of " << options.vocab_size;
  return tokenizer;
}

void publish_data_set(Manifest& manifest, const Tokenizer& tokenizer, StagingFolder& folder, bool replace) {
  manifest.tokenizer = tokenizer.identity();
  manifest.tokenizer_kind = tokenizer.kind();
  manifest.vocab_size = tokenizer.vocab_size();
  manifest.dataset_id = manifest.computed_id();
  save_tokenizer(tokenizer, folder.path() / kTokenizerFile);
  write_durably(folder.path() / kManifestFile, manifest.to_json());
  folder.publish(replace ? IfExists::kReplace : IfExists::kRefuse);
}

namespace {

std::int64_t total_size(const Files& files) {
  std::int64_t total = 0;
  for (const auto& file : files) total += static_cast<std::int64_t>(std::filesystem::file_size(file));
  return total;
}

Manifest write_data_set(const PrepareOptions& options, const Files& files, const Survey& survey,
                        const SplitPlan& plan, Tokenizer& tokenizer, const OnProgress& on_progress) {
  StagingFolder folder(options.output);
  const auto writer_of = [&](const char* split) {
    return ShardWriter({.folder = folder.path(),
                        .split = split,
                        .tokenizer = tokenizer.identity(),
                        .vocab_size = tokenizer.vocab_size(),
                        .shard_tokens = options.shard_tokens});
  };
  ShardWriter train = writer_of(kTrainSplit);
  ShardWriter validation = writer_of(kValidationSplit);
  Encoding encoding(tokenizer, plan, train, validation, total_size(files), on_progress);
  read_documents(files, options.documents, encoding);
  if (encoding.num_documents() != survey.num_documents() || encoding.num_bytes() != survey.num_bytes())
    throw UserError(options.inputs.front(), "the text changed while it was being read",
                    "prepare again when nobody writes to it");

  Manifest manifest;
  manifest.splits[kTrainSplit] = train.finish();
  manifest.splits[kValidationSplit] = validation.finish();
  publish_data_set(manifest, tokenizer, folder, options.replace);
  return manifest;
}

}  // namespace

PrepareSummary prepare(const PrepareOptions& options, const OnProgress& on_progress) {
  check_options(options);
  const Files files = list_text_files(options.inputs);
  Survey survey(options, total_size(files), on_progress);
  read_documents(files, options.documents, survey);
  if (survey.num_documents() == 0)
    throw UserError(options.inputs.front(), "holds no text", "name files that aren't empty");
  const SplitPlan plan = survey.plan();
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(options, survey.sample());
  PrepareSummary summary;
  summary.manifest = write_data_set(options, files, survey, plan, *tokenizer, on_progress);
  summary.num_files = static_cast<std::int64_t>(files.size());
  summary.num_documents = survey.num_documents();
  summary.num_bytes = survey.num_bytes();
  summary.num_not_utf8 = survey.num_not_utf8();
  summary.documents_cut = plan.cuts_documents();
  summary.training_bytes = survey.sample().size_bytes();
  return summary;
}

}  // namespace trireme
