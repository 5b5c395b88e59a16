// Reads tokenizer.json of Hugging Face's `tokenizers`.
#include <algorithm>
#include <map>
#include <utility>

#include "data/json.h"
#include "data/tokenizer/huggingface.h"
#include "data/tokenizer/json_node.h"
#include "data/tokenizer/nfc.h"
#include "data/unicode.h"

namespace trireme {
namespace {

std::string utf8_of(int code_point) {
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3F))};
}

// How vocabularies write bytes: those that Latin-1 prints as that character, the others as U+0100, U+0101 ...
struct ByteAlphabet {
  std::array<std::string, 256> characters;
  std::map<std::string, char, std::less<>> bytes;

  ByteAlphabet() {
    int next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool prints = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
      characters[byte] = utf8_of(prints ? byte : next++);
      bytes[characters[byte]] = static_cast<char>(byte);
    }
  }
  // False if a character stands for no byte.
  bool decode(std::string_view written, std::string& decoded) const {
    decoded.clear();
    while (!written.empty()) {
      const std::string_view character = written.substr(0, character_bytes(written));
      const auto found = bytes.find(character);
      if (found == bytes.end()) return false;
      decoded += found->second;
      written.remove_prefix(character.size());
    }
    return true;
  }
};

class Reader {
 public:
  Reader(const LargeJson& json, const std::string& where) : root_(json, "", where) {}

  HuggingFaceFile read() {
    if (!root_.json().is_object() || root_["model"].is_null())
      root_.fail("has no key 'model': it is no tokenizer",
                 "name a tokenizer.json of Hugging Face or of ours");
    read_model(root_["model"]);
    read_normalizer(root_["normalizer"]);
    read_pre_tokenizer(root_["pre_tokenizer"]);
    read_added_tokens(root_["added_tokens"]);
    return std::move(file_);
  }

 private:
  void read_model(const JsonNode& model) {
    const JsonNode type = model["type"];  // missing in old files of BPE
    if (!(type.is_null() && !model["merges"].is_null()) && !type.is_one_of({"BPE"})) type.fail_unsupported();
    if (!model["dropout"].is_null() && model["dropout"].json() != 0) model["dropout"].fail_unsupported();
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (!model[key].is_null() && !model[key].text().empty()) model[key].fail_unsupported();
    if (model["byte_fallback"].flag()) model["byte_fallback"].fail_unsupported();
    file_.whole_words_first = model["ignore_merges"].flag();
    read_vocab(model["vocab"]);
    read_merges(model["merges"]);
  }

  void read_vocab(const JsonNode& vocab) {
    if (!vocab.json().is_object()) vocab.fail_broken("is missing or no object");
    for (const auto& [content, number] : vocab.json().items()) {
      const std::int32_t token = JsonNode(number, vocab.path() + "." + content, vocab.where()).token_number();
      number_of_[content] = token;
      std::string bytes;
      const bool is_word = alphabet_.decode(content, bytes);
      take_number(token, content, is_word ? bytes : content, vocab);
      file_.is_word[token] = is_word;
    }
    for (int byte = 0; byte < 256; ++byte) {
      const auto found = number_of_.find(alphabet_.characters[byte]);
      if (found == number_of_.end())
        vocab.fail("has no token '" + alphabet_.characters[byte] + "' for the byte " + std::to_string(byte),
                   "train the tokenizer with initial_alphabet=ByteLevel.alphabet()");
      file_.token_of_byte[byte] = found->second;
    }
  }

  void take_number(std::int32_t token, const std::string& content, const std::string& bytes,
                   const JsonNode& at) {
    const auto [taken, is_new] = content_of_.emplace(token, content);
    if (!is_new)
      at.fail_broken("gives the number " + std::to_string(token) + " to both '" + taken->second + "' and '" +
                     content + "'");
    if (file_.bytes.size() <= static_cast<std::size_t>(token)) {
      file_.bytes.resize(static_cast<std::size_t>(token) + 1);
      file_.is_word.resize(static_cast<std::size_t>(token) + 1);
    }
    file_.bytes[token] = bytes;
  }

  // A merge is ["a", "b"] or, in older files, "a b".
  void read_merges(const JsonNode& merges) {
    if (!merges.json().is_array()) merges.fail_broken("is missing or no array");
    for (std::size_t i = 0; i < merges.size(); ++i) {
      const LargeJson& merge = merges.json()[i];
      std::string left;
      std::string right;
      if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        left = merge[0];
        right = merge[1];
      } else if (const std::string& both = merges[i].text(); std::count(both.begin(), both.end(), ' ') == 1) {
        left = both.substr(0, both.find(' '));
        right = both.substr(both.find(' ') + 1);
      } else {
        merges[i].fail_broken("is no pair of tokens");
      }
      const auto number = [&](const std::string& content) {
        const auto found = number_of_.find(content);
        if (found == number_of_.end())
          merges[i].fail_broken("needs the token '" + content + "', which is not in the vocabulary");
        return found->second;
      };
      file_.merges.push_back({{number(left), number(right)}, number(left + right)});
    }
  }

  void read_normalizer(const JsonNode& normalizer) {
    if (normalizer.is_null()) return;
    const JsonNode type = normalizer["type"];
    if (type.is_one_of({"NFC"})) {
      file_.composes = true;
    } else if (type.is_one_of({"Sequence"})) {
      for (std::size_t i = 0; i < normalizer["normalizers"].size(); ++i)
        read_normalizer(normalizer["normalizers"][i]);
    } else {
      type.fail_unsupported();
    }
  }

  void read_pre_tokenizer(const JsonNode& pre_tokenizer) {
    if (pre_tokenizer.is_null()) pre_tokenizer.fail_unsupported();
    std::vector<JsonNode> steps;
    list_steps(pre_tokenizer, steps);
    if (steps.empty() || !steps.back()["type"].is_one_of({"ByteLevel"}))
      pre_tokenizer.fail("does not end with ByteLevel, which is not supported", "use a byte-level tokenizer");
    for (const JsonNode& step : steps) read_step(step, &step == &steps.back());
  }

  static void list_steps(const JsonNode& pre_tokenizer, std::vector<JsonNode>& steps) {
    if (!pre_tokenizer["type"].is_one_of({"Sequence"})) {
      steps.push_back(pre_tokenizer);
      return;
    }
    const JsonNode parts = pre_tokenizer["pretokenizers"];
    for (std::size_t i = 0; i < parts.size(); ++i) list_steps(parts[i], steps);
  }

  void read_step(const JsonNode& step, bool is_last) {
    const JsonNode type = step["type"];
    const auto add_pattern = [&](const std::string& expression, const JsonNode& at) {
      file_.patterns.emplace_back(expression, at.where() + ": key '" + at.path() + "'");
    };
    if (type.is_one_of({"ByteLevel"}) && is_last) {
      if (step["add_prefix_space"].flag(true)) step["add_prefix_space"].fail_unsupported();
      if (step["use_regex"].flag(true)) add_pattern(kGpt2Pattern, step);
    } else if (type.is_one_of({"Digits"})) {
      add_pattern(step["individual_digits"].flag() ? R"(\p{N})" : R"(\p{N}+)", step);
    } else if (type.is_one_of({"Split"})) {
      if (!step["behavior"].is_one_of({"Isolated"})) step["behavior"].fail_unsupported();
      const JsonNode pattern = step["pattern"];
      if (!pattern["Regex"].is_null()) {
        add_pattern(pattern["Regex"].text(), pattern["Regex"]);
      } else {
        add_pattern(quoted_pattern(pattern["String"].text()), pattern["String"]);
      }
    } else {
      type.fail_unsupported();
    }
  }

  void read_added_tokens(const JsonNode& tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const JsonNode node = tokens[i];
      AddedToken token = {.id = node["id"].token_number(),
                          .content = node["content"].text(),
                          .single_word = node["single_word"].flag(),
                          .lstrip = node["lstrip"].flag(),
                          .rstrip = node["rstrip"].flag(),
                          .normalized = node["normalized"].flag(!node["special"].flag())};
      if (token.content.empty()) node["content"].fail_broken("is empty");
      const auto [known, is_new] = number_of_.emplace(token.content, token.id);
      if (is_new) {
        take_number(token.id, token.content, token.content, node["id"]);
      } else if (known->second != token.id) {
        node["id"].fail_broken("is not the number of '" + token.content + "' in the vocabulary, " +
                               std::to_string(known->second));
      }
      file_.bytes[token.id] = token.content;
      if (token.normalized && file_.composes) token.content = to_nfc(token.content);
      file_.added_tokens.push_back(std::move(token));
    }
  }

  const JsonNode root_;
  const ByteAlphabet alphabet_;
  HuggingFaceFile file_;
  std::unordered_map<std::string, std::int32_t> number_of_;
  std::unordered_map<std::int32_t, std::string> content_of_;
};

}  // namespace

HuggingFaceFile HuggingFaceFile::parse(const std::string& text, const std::string& where) {
  HuggingFaceFile file = Reader(parse_json<LargeJson>(text, where), where).read();
  file.text = text;
  return file;
}

std::int32_t HuggingFaceFile::find_end_of_document(const std::string& name, const std::string& where) const {
  const auto number_of = [&](const std::string& content) {
    const auto found = std::find(bytes.begin(), bytes.end(), content);
    return found == bytes.end() ? -1 : static_cast<std::int32_t>(found - bytes.begin());
  };
  if (!name.empty()) {
    const std::int32_t token = number_of(name);
    if (token < 0)
      throw UserError("--end-of-document", "'" + name + "' is no token of " + where,
                      "name one of its special tokens");
    return token;
  }
  for (const char* usual :
       {"<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "</s>", "<eos>", "[EOS]"})
    if (const std::int32_t token = number_of(usual); token >= 0) return token;
  throw UserError(where, "has none of the usual tokens that end a document",
                  "name one: --end-of-document TOKEN");
}

}  // namespace trireme
