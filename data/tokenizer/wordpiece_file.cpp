// Reads WordPiece's tokenizer.json, and vocab.txt.
#include <algorithm>
#include <sstream>

#include "data/tokenizer/json_node.h"
#include "data/tokenizer/wordpiece.h"

namespace trireme {
namespace {

constexpr const char* kEndOfDocument = "[SEP]";

void add_token(const std::string& content, std::int32_t number, const JsonNode& at, WordPieceFile& file) {
  const auto place = static_cast<std::size_t>(number);
  if (file.tokens.size() <= place) file.tokens.resize(place + 1);
  if (!file.tokens[place].empty() && file.tokens[place] != content) {
    at.fail_broken("gives the number " + std::to_string(number) + " to both '" + file.tokens[place] +
                   "' and '" + content + "'");
  }
  file.tokens[place] = content;
}

void read_model(const JsonNode& model, WordPieceFile& file) {
  if (!model["type"].is_one_of({WordPieceFile::kModelType})) model["type"].fail_unsupported();
  const JsonNode vocab = model["vocab"];
  if (!vocab.json().is_object()) vocab.fail_broken("is missing or no object");
  for (const auto& [content, number] : vocab.json().items()) {
    const JsonNode node(number, vocab.path() + "." + content, vocab.where());
    add_token(content, node.token_number(), vocab, file);
    file.number_of.emplace(content, node.token_number());
  }
  const JsonNode prefix = model["continuing_subword_prefix"];
  if (!prefix.is_null()) file.prefix = prefix.text();
  const JsonNode longest = model["max_input_chars_per_word"];
  if (!longest.is_null()) file.max_word_characters = static_cast<std::size_t>(longest.token_number());
  const JsonNode unknown = model["unk_token"];
  const std::string name = unknown.is_null() ? "[UNK]" : unknown.text();
  const auto found = file.number_of.find(name);
  if (found == file.number_of.end())
    unknown.fail_broken("is the token '" + name + "', which is not in the vocabulary");
  file.unknown = found->second;
}

void read_normalizer(const JsonNode& normalizer, WordPieceFile& file) {
  if (normalizer.is_null()) return;
  if (!normalizer["type"].is_one_of({"BertNormalizer"})) normalizer["type"].fail_unsupported();
  BertNormalizer& read = file.normalizer.emplace();
  read.clean_text = normalizer["clean_text"].flag(true);
  read.handle_chinese_chars = normalizer["handle_chinese_chars"].flag(true);
  read.lowercase = normalizer["lowercase"].flag(true);
  read.strip_accents = normalizer["strip_accents"].flag(read.lowercase);
}

void read_added_tokens(const JsonNode& tokens, WordPieceFile& file) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const JsonNode node = tokens[i];
    AddedToken token = {.id = node["id"].token_number(),
                        .content = node["content"].text(),
                        .single_word = node["single_word"].flag(),
                        .lstrip = node["lstrip"].flag(),
                        .rstrip = node["rstrip"].flag(),
                        .normalized = node["normalized"].flag(!node["special"].flag())};
    if (token.content.empty()) node["content"].fail_broken("is empty");
    add_token(token.content, token.id, node["id"], file);
    if (token.normalized && file.normalizer) token.content = file.normalizer->normalized(token.content);
    file.added_tokens.push_back(std::move(token));
  }
}

}  // namespace

WordPieceFile WordPieceFile::parse(const std::string& text, const std::string& where) {
  const auto json = parse_json<LargeJson>(text, where);
  const JsonNode root(json, "", where);
  WordPieceFile file;
  file.text = text;
  read_model(root["model"], file);
  read_normalizer(root["normalizer"], file);
  if (!root["pre_tokenizer"]["type"].is_one_of({"BertPreTokenizer"}))
    root["pre_tokenizer"]["type"].fail_unsupported();
  read_added_tokens(root["added_tokens"], file);
  return file;
}

WordPieceFile WordPieceFile::parse_vocab(const std::string& text, bool lowercase, const std::string& where) {
  LargeJson vocab = LargeJson::object();
  LargeJson added = LargeJson::array();
  std::istringstream lines(text);
  std::int64_t number = 0;
  for (std::string line; std::getline(lines, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    vocab[line] = number;
    if (line == "[UNK]" || line == "[CLS]" || line == "[SEP]" || line == "[PAD]" || line == "[MASK]")
      added.push_back({{"id", number}, {"content", line}, {"special", true}, {"normalized", false}});
  }
  const LargeJson json = {{"version", "1.0"},
                          {"added_tokens", added},
                          {"normalizer",
                           {{"type", "BertNormalizer"},
                            {"clean_text", true},
                            {"handle_chinese_chars", true},
                            {"strip_accents", nullptr},
                            {"lowercase", lowercase}}},
                          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                          {"model",
                           {{"type", kModelType},
                            {"unk_token", "[UNK]"},
                            {"continuing_subword_prefix", "##"},
                            {"max_input_chars_per_word", 100},
                            {"vocab", vocab}}}};
  return parse(json.dump(), where);
}

std::int32_t WordPieceFile::find_end_of_document(const std::string& name, const std::string& where) const {
  const std::string wanted = name.empty() ? kEndOfDocument : name;
  const auto found = std::find(tokens.begin(), tokens.end(), wanted);
  if (found != tokens.end()) return static_cast<std::int32_t>(found - tokens.begin());
  throw UserError(name.empty() ? where : "--end-of-document", "'" + wanted + "' is no token of " + where,
                  "name one of its special tokens: --end-of-document TOKEN");
}

}  // namespace trireme
