#include <cstring>
#include <span>

#include "data/gettext.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr std::uint32_t kMagic = 0x950412DE;
constexpr std::uint32_t kSwappedMagic = 0xDE120495;
constexpr std::uint64_t kHeaderBytes = 28;
constexpr std::uint64_t kEntryBytes = 8;  // of a table: length, offset
constexpr std::size_t kMaxFileBytes = std::size_t{1} << 30;
constexpr char kContextEnd = '\x04';

std::string read_whole(ByteStream& stream, const std::string& where) {
  constexpr std::size_t kPiece = std::size_t{1} << 16;
  std::string bytes;
  for (std::size_t count = kPiece; count == kPiece;) {
    if (bytes.size() > kMaxFileBytes) throw UserError(where, "is larger than 1 GiB", "split it");
    bytes.resize(bytes.size() + kPiece);
    count = stream.read(std::span(bytes).last(kPiece));
    bytes.resize(bytes.size() - kPiece + count);
  }
  return bytes;
}

class Catalog {
 public:
  Catalog(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {
    if (bytes.size() < kHeaderBytes || (number_at(0) != kMagic && number_at(0) != kSwappedMagic))
      throw UserError(where, "is no .mo file", "leave it out");
    swapped_ = number_at(0) == kSwappedMagic;
    const std::uint32_t major_version = number_at(4) >> 16;
    if (major_version > 1)
      throw UserError(where, "is a .mo file of the unknown version " + std::to_string(major_version),
                      "make it with msgfmt of GNU gettext");
    size_ = number_at(8);
    originals_ = number_at(12);
    translations_ = number_at(16);
    for (const std::uint64_t table : {originals_, translations_})
      if (table + size_ * kEntryBytes > bytes.size())
        fail("a table of " + std::to_string(size_) + " strings at byte " + std::to_string(table));
  }

  std::uint64_t size() const { return size_; }
  std::string_view original(std::uint64_t i) const { return string_at(originals_ + i * kEntryBytes, i); }
  std::string_view translation(std::uint64_t i) const {
    return string_at(translations_ + i * kEntryBytes, i);
  }

 private:
  std::uint32_t number_at(std::uint64_t offset) const {
    std::uint32_t number = 0;
    std::memcpy(&number, bytes_.data() + offset, sizeof(number));
    return swapped_ ? __builtin_bswap32(number) : number;
  }

  // The string that an entry of a table names; a zero byte follows each.
  std::string_view string_at(std::uint64_t entry, std::uint64_t index) const {
    const std::uint64_t length = number_at(entry);
    const std::uint64_t offset = number_at(entry + 4);
    if (offset + length >= bytes_.size() || bytes_[offset + length] != '\0')
      fail("string " + std::to_string(index) + " of " + std::to_string(length) + " bytes at byte " +
           std::to_string(offset));
    return bytes_.substr(offset, length);
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw UserError(where_,
                    "is damaged: it names " + what + ", but has " + std::to_string(bytes_.size()) + " bytes",
                    "bring back a good copy");
  }

  std::string_view bytes_;
  const std::string& where_;
  bool swapped_ = false;
  std::uint64_t size_ = 0;
  std::uint64_t originals_ = 0;
  std::uint64_t translations_ = 0;
};

std::string_view first_form(std::string_view forms) {
  return forms.substr(0, forms.find('\0'));
}

}  // namespace

void read_mo(ByteStream& stream, const std::string& where, const OnMessage& on_message) {
  const std::string bytes = read_whole(stream, where);
  const Catalog catalog(bytes, where);
  for (std::uint64_t i = 0; i < catalog.size(); ++i) {
    std::string_view original = catalog.original(i);
    const std::string_view translation = catalog.translation(i);
    if (original.empty()) continue;  // the header
    if (const std::size_t end = original.find(kContextEnd); end != std::string_view::npos)
      original.remove_prefix(end + 1);
    on_message(first_form(original), first_form(translation));
  }
}

}  // namespace trireme
