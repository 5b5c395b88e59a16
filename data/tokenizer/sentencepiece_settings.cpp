#include "data/tokenizer/sentencepiece_settings.h"

#include <cstddef>
#include <cstdint>

namespace trireme {
namespace {

// The fields of a message, one after the other.
class Message {
 public:
  explicit Message(std::string_view bytes) : bytes_(bytes) {}

  // False at the end, and at what is no field.
  bool next() {
    if (bytes_.empty()) return false;
    std::uint64_t tag = 0;
    broken_ = !read_varint(tag);
    if (broken_) return false;
    number_ = tag >> 3;
    value_ = 0;
    content_ = {};
    switch (tag & 7) {
      case 0:
        broken_ = !read_varint(value_);
        break;
      case 1:
        broken_ = !take(8);
        break;
      case 2: {
        std::uint64_t size = 0;
        broken_ = !read_varint(size) || !take(size);
        break;
      }
      case 5:
        broken_ = !take(4);
        break;
      default:
        broken_ = true;
    }
    return !broken_;
  }

  bool broken() const { return broken_; }
  std::uint64_t number() const { return number_; }
  std::uint64_t value() const { return value_; }         // of a number or flag
  std::string_view content() const { return content_; }  // of a message or text

 private:
  bool read_varint(std::uint64_t& value) {
    value = 0;
    for (std::size_t i = 0; i < bytes_.size() && i < 10; ++i) {
      value |= std::uint64_t{static_cast<std::uint8_t>(bytes_[i]) & 0x7Fu} << (7 * i);
      if ((static_cast<std::uint8_t>(bytes_[i]) & 0x80) != 0) continue;
      bytes_.remove_prefix(i + 1);
      return true;
    }
    return false;
  }
  bool take(std::uint64_t size) {
    if (size > bytes_.size()) return false;
    content_ = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return true;
  }

  std::string_view bytes_;
  bool broken_ = false;
  std::uint64_t number_ = 0;
  std::uint64_t value_ = 0;
  std::string_view content_;
};

}  // namespace

// The numbers of fields are those of sentencepiece_model.proto.
std::optional<SentencePieceSettings> read_sentencepiece_settings(std::string_view model) {
  SentencePieceSettings settings;
  bool has_pieces = false;
  bool has_trainer_spec = false;
  std::optional<std::string_view> normalizer_spec;
  Message message(model);
  while (message.next()) {
    has_pieces |= message.number() == 1;
    has_trainer_spec |= message.number() == 2;
    if (message.number() == 3) normalizer_spec = message.content();
  }
  if (message.broken() || !has_pieces || !has_trainer_spec || !normalizer_spec) return {};
  Message normalizer(*normalizer_spec);
  while (normalizer.next()) {
    if (normalizer.number() == 2) settings.has_rules = !normalizer.content().empty();
    if (normalizer.number() == 3) settings.adds_prefix = normalizer.value() != 0;
    if (normalizer.number() == 4) settings.trims_spaces = normalizer.value() != 0;
    if (normalizer.number() == 5) settings.marks_spaces = normalizer.value() != 0;
  }
  if (normalizer.broken()) return {};
  return settings;
}

}  // namespace trireme
