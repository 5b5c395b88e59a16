// Text to tokens and back.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

// decode(encode(bytes)) == bytes, valid UTF-8 or not, but for what losses() names: only tokenizers of other
// programs lose anything.  encode() doesn't make the end-of-document token (but where such a tokenizer finds
// it spelled out in the text): who joins documents puts it between them; it decodes to nothing.
//
// encode() keeps what it has learned about frequent words: one thread at a time.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Appends the tokens of the text.
  virtual void encode(std::string_view text, std::vector<std::int32_t>& tokens) = 0;
  // The bytes that a token stands for.  REQUIRES: 0 <= token < vocab_size().
  virtual std::string_view bytes_of(std::int32_t token) const = 0;
  std::string decode(std::span<const std::int32_t> tokens) const;

  // Tokens are 0 .. vocab_size() - 1, the end of a document among them.
  virtual int vocab_size() const = 0;
  virtual std::int32_t end_of_document() const = 0;
  // What stands around a text of its own for an encoder: the end of a document on both sides, but for
  // tokenizers that have tokens of their own for it ([CLS] and [SEP]).
  struct Frame {
    std::int32_t begin = 0;
    std::int32_t end = 0;
  };
  virtual Frame frame() const { return {end_of_document(), end_of_document()}; }
  // The token that stands for one that is to be guessed, if there is one.
  virtual std::optional<std::int32_t> mask_token() const { return std::nullopt; }

  // How much of the beginning of a long text may be encoded by itself: the tokens of the two parts, joined,
  // are those of the whole, whatever follows.  0 if there is no such place.
  virtual std::size_t safe_cut(std::string_view text) const = 0;

  virtual std::string kind() const = 0;  // "byte", "bpe", "huggingface", "sentencepiece", "wordpiece"
  // What decode(encode(bytes)) doesn't bring back, in words for the user; empty if it brings back all.
  virtual std::string losses() const { return {}; }
  // The whole tokenizer; load_tokenizer() has it back.  Equal tokenizers give equal text.
  virtual std::string to_json() const = 0;
  // A tokenizer of another program, as the file that this program has of it.
  struct OriginalFile {
    std::string name;  // what it is usually called
    std::string contents;
    std::string end_of_document;  // how that token is written there
  };
  virtual std::optional<OriginalFile> original_file() const { return {}; }
  // A short name for exactly this tokenizer: shards carry it.
  std::string identity() const;
};

// How the token of mask_token() is usually written.
inline constexpr std::array<std::string_view, 2> kMaskNames = {"[MASK]", "<mask>"};

// Throws a UserError for a file that is no tokenizer of ours.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path);
// Also takes tokenizer.json of Hugging Face and, by the names *.model and *.txt, SentencePiece's models and
// BERT's vocab.txt.  `end_of_document` is the text of the token that ends a document, for these; if empty, a
// usual one is found.
std::unique_ptr<Tokenizer> import_tokenizer(const std::filesystem::path& path,
                                            const std::string& end_of_document);
// Durable; REFUSES to overwrite.
void save_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& path);

}  // namespace trireme
