#include "data/tokenizer/tokenizer.h"

#include <utility>

#include "data/checksum.h"
#include "data/durable_file.h"
#include "data/json.h"
#include "data/tokenizer/base64.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/byte.h"
#include "data/tokenizer/huggingface.h"
#include "data/tokenizer/sentencepiece.h"
#include "data/tokenizer/wordpiece.h"
#include "data/tokenizer/words.h"

namespace trireme {

std::string Tokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  for (const std::int32_t token : tokens) text += bytes_of(token);
  return text;
}

std::string Tokenizer::identity() const {
  return to_hex(checksum_of(to_json()));
}

namespace {

std::unique_ptr<Tokenizer> load_bpe(const LargeJson& json, const std::string& where) {
  std::vector<TokenPair> merges;
  std::vector<std::size_t> sizes(BpeTokenizer::kFirstMerge, 1);  // bytes of each token so far
  const auto fail_merge = [&](const char* what) {
    throw UserError(where, "merge " + std::to_string(merges.size()) + " " + what,
                    "bring back a good copy or prepare the data again");
  };
  for (const LargeJson& merge : json_value<LargeJson>(json, "merges", where)) {
    const auto limit = static_cast<std::int64_t>(BpeTokenizer::kFirstMerge + merges.size());
    const auto is_token = [&](const LargeJson& value) {
      return value.is_number_integer() && value >= 0 && value < limit && value != kEndOfDocument;
    };
    if (!merge.is_array() || merge.size() != 2 || !is_token(merge[0]) || !is_token(merge[1]))
      fail_merge("is not a pair of earlier tokens");
    merges.push_back({merge[0].get<std::int32_t>(), merge[1].get<std::int32_t>()});
    sizes.push_back(sizes[merges.back().left] + sizes[merges.back().right]);
    if (sizes.back() > kMaxWordBytes) fail_merge("is longer than any word");
  }
  return std::make_unique<BpeTokenizer>(std::move(merges));
}

std::unique_ptr<Tokenizer> load_huggingface(const LargeJson& json, const std::string& where) {
  auto file = HuggingFaceFile::parse(json_value<std::string>(json, "file", where), where);
  const auto end_of_document = json_value<std::int64_t>(json, "end_of_document", where);
  if (end_of_document < 0 || end_of_document >= static_cast<std::int64_t>(file.bytes.size()))
    throw UserError(where, "key 'end_of_document' is no token", "bring back a good copy");
  return std::make_unique<HuggingFaceTokenizer>(std::move(file), static_cast<std::int32_t>(end_of_document));
}

std::unique_ptr<Tokenizer> load_wordpiece(const LargeJson& json, const std::string& where) {
  auto file = WordPieceFile::parse(json_value<std::string>(json, "file", where), where);
  const auto end_of_document = json_value<std::int64_t>(json, "end_of_document", where);
  if (end_of_document < 0 || end_of_document >= static_cast<std::int64_t>(file.tokens.size()))
    throw UserError(where, "key 'end_of_document' is no token", "bring back a good copy");
  return std::make_unique<WordPieceTokenizer>(std::move(file), static_cast<std::int32_t>(end_of_document));
}

std::unique_ptr<Tokenizer> import_wordpiece(WordPieceFile file, const std::string& end_of_document,
                                            const std::string& where) {
  const std::int32_t end = file.find_end_of_document(end_of_document, where);
  return std::make_unique<WordPieceTokenizer>(std::move(file), end);
}

// What the tokenizer_config.json beside a vocab.txt says; without one, as BERT's own tokenizer does.
bool lowercases(const std::filesystem::path& vocab) {
  const std::filesystem::path config = vocab.parent_path() / "tokenizer_config.json";
  if (!std::filesystem::exists(config)) return true;
  const auto json = parse_json<LargeJson>(read_whole_file(config), config.string());
  return !json.is_object() || !json.contains("do_lower_case") ||
         json_value<bool>(json, "do_lower_case", config.string());
}

std::unique_ptr<Tokenizer> load_sentencepiece(const LargeJson& json, const std::string& where) {
  auto model = from_base64(json_value<std::string>(json, "model", where));
  if (!model) throw UserError(where, "key 'model' is no Base64", "bring back a good copy");
  return SentencePieceTokenizer::load(*std::move(model),
                                      json_value<std::int64_t>(json, "end_of_document", where), where);
}

// Of ours.
std::unique_ptr<Tokenizer> read_tokenizer(const LargeJson& json, const std::string& where) {
  const auto format = json_value<std::string>(json, "format", where);
  if (format != kTokenizerFormat)
    throw UserError(where, "has format '" + format + "' instead of '" + kTokenizerFormat + "'",
                    "it is no tokenizer of this version: prepare the data again");
  const auto kind = json_value<std::string>(json, "kind", where);
  if (kind == ByteTokenizer::kKind) return std::make_unique<ByteTokenizer>();
  if (kind == BpeTokenizer::kKind) return load_bpe(json, where);
  if (kind == HuggingFaceTokenizer::kKind) return load_huggingface(json, where);
  if (kind == SentencePieceTokenizer::kKind) return load_sentencepiece(json, where);
  if (kind == WordPieceTokenizer::kKind) return load_wordpiece(json, where);
  throw UserError(where, "has a tokenizer of the unknown kind '" + kind + "'",
                  "use one of: byte, bpe, huggingface, sentencepiece, wordpiece");
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  const std::string where = path.string();
  return read_tokenizer(parse_json<LargeJson>(read_whole_file(path), where), where);
}

std::unique_ptr<Tokenizer> import_tokenizer(const std::filesystem::path& path,
                                            const std::string& end_of_document) {
  const std::string where = path.string();
  const std::string text = read_whole_file(path);
  if (path.extension() == ".model") return SentencePieceTokenizer::import(text, end_of_document, where);
  if (path.extension() == ".txt")
    return import_wordpiece(WordPieceFile::parse_vocab(text, lowercases(path), where), end_of_document,
                            where);
  const auto json = parse_json<LargeJson>(text, where);
  if (json.is_object() && !json.contains("format") && json.contains("model")) {
    const LargeJson& model = json["model"];
    if (model.is_object() && model.contains("type") && model["type"] == WordPieceFile::kModelType)
      return import_wordpiece(WordPieceFile::parse(text, where), end_of_document, where);
    auto file = HuggingFaceFile::parse(text, where);
    const std::int32_t end = file.find_end_of_document(end_of_document, where);
    return std::make_unique<HuggingFaceTokenizer>(std::move(file), end);
  }
  if (!end_of_document.empty())
    throw UserError("--end-of-document",
                    "is for tokenizers of other programs; " + where + " is one of Trireme's", "leave it out");
  return read_tokenizer(json, where);
}

void save_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& path) {
  write_durably(path, tokenizer.to_json());
}

}  // namespace trireme
