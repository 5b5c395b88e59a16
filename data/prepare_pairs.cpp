#include "data/prepare_pairs.h"

#include <string>
#include <utility>
#include <vector>

#include "data/checksum.h"
#include "data/pair_shard_writer.h"
#include "data/random.h"
#include "data/tokenizer/tokenizer.h"
#include "data/user_error.h"
#include "data/utf8.h"

namespace trireme {
namespace {

using OnProgress = std::function<void(const PrepareProgress&)>;

constexpr std::size_t kSamplePieceBytes = std::size_t{1} << 16;

// Tells the first of equal numbers from the others: an open hash table, at most half full.
class SeenNumbers {
 public:
  // False if the number has come before.
  bool insert(std::uint64_t number) {
    if (number == kEmpty) return !std::exchange(seen_empty_, true);
    if (2 * (size_ + 1) > slots_.size()) grow();
    std::uint64_t& slot = slot_of(number);
    if (slot == number) return false;
    slot = number;
    ++size_;
    return true;
  }

 private:
  static constexpr std::uint64_t kEmpty = 0;

  std::uint64_t& slot_of(std::uint64_t number) {
    std::size_t i = mixed(number) & (slots_.size() - 1);
    while (slots_[i] != kEmpty && slots_[i] != number) i = (i + 1) & (slots_.size() - 1);
    return slots_[i];
  }
  void grow() {
    const std::vector<std::uint64_t> old =
        std::exchange(slots_, std::vector<std::uint64_t>(2 * slots_.size()));
    for (const std::uint64_t number : old)
      if (number != kEmpty) slot_of(number) = number;
  }

  std::vector<std::uint64_t> slots_ = std::vector<std::uint64_t>(1024);
  std::size_t size_ = 0;
  bool seen_empty_ = false;
};

// What both readings do: each pair once.
class UniquePairs : public PairSink {
 public:
  UniquePairs(const char* phase, std::int64_t total_bytes, const OnProgress& on_progress)
      : phase_(phase), total_bytes_(total_bytes), on_progress_(on_progress) {}

  void add_pair(std::string_view source, std::string_view target) final {
    const std::uint64_t source_hash = checksum_of(source);
    const std::uint64_t pair_hash = random_at(source_hash, checksum_of(target));
    contents_ = mixed(contents_ ^ pair_hash);
    if (seen_.insert(pair_hash)) {
      add_unique(source, target, source_hash);
    } else {
      ++num_duplicates_;
    }
  }
  void report_progress(std::int64_t bytes_read) final { on_progress_({phase_, bytes_read, total_bytes_}); }

  std::int64_t num_duplicates() const { return num_duplicates_; }
  // Of all that has been read, duplicates too.
  std::uint64_t contents() const { return contents_; }

 protected:
  virtual void add_unique(std::string_view source, std::string_view target, std::uint64_t source_hash) = 0;

 private:
  const char* phase_;
  std::int64_t total_bytes_;
  const OnProgress& on_progress_;
  SeenNumbers seen_;
  std::int64_t num_duplicates_ = 0;
  std::uint64_t contents_ = 0;
};

// The first reading: what is there.
class Survey final : public UniquePairs {
 public:
  Survey(const PrepareOptions& options, std::int64_t total_bytes, const OnProgress& on_progress)
      : UniquePairs("surveying the pairs", total_bytes, on_progress),
        sample_(options.training_mib << 20),
        wants_sample_(trains_tokenizer(options)) {}

  std::int64_t num_not_utf8() const { return num_not_utf8_; }
  // REQUIRES: all has been read.
  const TextSample& sample() {
    if (!piece_.empty()) sample_.add(std::exchange(piece_, {}));
    return sample_;
  }

 private:
  void add_unique(std::string_view source, std::string_view target, std::uint64_t) override {
    utf8_.update(source);
    const bool source_is_utf8 = utf8_.finish();
    utf8_.update(target);
    if (!utf8_.finish() || !source_is_utf8) ++num_not_utf8_;
    if (!wants_sample_) return;
    for (const std::string_view sentence : {source, target}) {
      piece_ += sentence;
      piece_ += '\n';  // so that no word goes over a sentence's end
    }
    if (piece_.size() < kSamplePieceBytes) return;
    sample_.add(piece_);
    piece_.clear();
  }

  TextSample sample_;
  bool wants_sample_;
  std::string piece_;
  Utf8Checker utf8_;
  std::int64_t num_not_utf8_ = 0;
};

// The second reading: pairs to tokens, into one split or the other.
class Encoding final : public UniquePairs {
 public:
  Encoding(const PairPrepareOptions& options, Tokenizer& tokenizer, PairShardWriter& train,
           PairShardWriter& validation, std::int64_t total_bytes, const OnProgress& on_progress)
      : UniquePairs("writing tokens", total_bytes, on_progress),
        options_(options),
        tokenizer_(tokenizer),
        train_(train),
        validation_(validation) {}

  std::int64_t num_empty() const { return num_empty_; }
  std::int64_t num_too_long() const { return num_too_long_; }
  std::int64_t num_written() const { return num_written_; }

 private:
  void add_unique(std::string_view source, std::string_view target, std::uint64_t source_hash) override {
    encode(source, source_tokens_);
    encode(target, target_tokens_);
    if (source_tokens_.empty() || target_tokens_.empty()) {  // some tokenizers drop characters
      ++num_empty_;
      return;
    }
    if (is_too_long(source_tokens_) || is_too_long(target_tokens_)) {
      ++num_too_long_;
      return;
    }
    const bool drawn = uniform_at(options_.common.seed, source_hash) < options_.common.validation_fraction;
    PairShardWriter& split = drawn ? validation_ : train_;
    split.add(source_tokens_, target_tokens_);
    split.count_bytes(static_cast<std::int64_t>(source.size() + target.size()));
    ++num_written_;
  }

  void encode(std::string_view sentence, std::vector<std::int32_t>& tokens) {
    tokens.clear();
    tokenizer_.encode(sentence, tokens);
  }
  bool is_too_long(const std::vector<std::int32_t>& tokens) const {
    return static_cast<std::int64_t>(tokens.size()) > options_.max_tokens;
  }

  const PairPrepareOptions& options_;
  Tokenizer& tokenizer_;
  PairShardWriter& train_;
  PairShardWriter& validation_;
  std::vector<std::int32_t> source_tokens_;
  std::vector<std::int32_t> target_tokens_;
  std::int64_t num_empty_ = 0;
  std::int64_t num_too_long_ = 0;
  std::int64_t num_written_ = 0;
};

// The summary's manifest and what else this reading finds.
void write_data_set(const PairPrepareOptions& options, const PairFiles& files, const Survey& survey,
                    Tokenizer& tokenizer, const OnProgress& on_progress, PairPrepareSummary& summary) {
  StagingFolder folder(options.common.output);
  const auto writer_of = [&](const char* split) {
    return PairShardWriter({.folder = folder.path(),
                            .split = split,
                            .tokenizer = tokenizer.identity(),
                            .vocab_size = tokenizer.vocab_size(),
                            .shard_tokens = options.common.shard_tokens});
  };
  PairShardWriter train = writer_of(kTrainSplit);
  PairShardWriter validation = writer_of(kValidationSplit);
  Encoding encoding(options, tokenizer, train, validation, files.total_bytes, on_progress);
  read_pairs(files.files, encoding);
  if (encoding.contents() != survey.contents())
    throw UserError(files.files.front().path.string(),
                    "or a file read with it changed while it was being read",
                    "prepare again when nobody writes to it");
  if (encoding.num_written() == 0)
    throw UserError("--max-tokens",
                    "leaves nothing: every pair has a side of more than " +
                        std::to_string(options.max_tokens) + " tokens",
                    "allow longer sentences");
  summary.read.empty += encoding.num_empty();
  summary.num_too_long = encoding.num_too_long();
  summary.manifest.content = Content::kPairs;
  summary.manifest.splits[kTrainSplit] = train.finish();
  summary.manifest.splits[kValidationSplit] = validation.finish();
  publish_data_set(summary.manifest, tokenizer, folder, options.common.replace);
}

}  // namespace

PairPrepareSummary prepare_pairs(const PairPrepareOptions& options, const OnProgress& on_progress) {
  check_options(options.common);
  if (options.max_tokens < 1 || options.max_tokens > PairShardWriter::kMaxLength)
    throw UserError("--max-tokens",
                    "is " + std::to_string(options.max_tokens) + ", not between 1 and " +
                        std::to_string(PairShardWriter::kMaxLength),
                    "choose a value in between");
  const PairFiles files = list_pair_files(options.inputs);
  PairPrepareSummary summary;
  summary.num_files = static_cast<std::int64_t>(files.files.size());
  summary.num_passed_over = files.num_passed_over;
  Survey survey(options.common, files.total_bytes, on_progress);
  summary.read = read_pairs(files.files, survey);
  if (summary.read.read == 0)
    throw UserError(files.files.front().path.string(), "holds no pair, and neither does any other input",
                    "name files with sentences and their translations");
  summary.num_duplicates = survey.num_duplicates();
  summary.num_not_utf8 = survey.num_not_utf8();
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(options.common, survey.sample());
  summary.training_bytes = survey.sample().size_bytes();
  write_data_set(options, files, survey, *tokenizer, on_progress, summary);
  return summary;
}

}  // namespace trireme
