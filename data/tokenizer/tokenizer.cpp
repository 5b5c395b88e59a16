#include "data/tokenizer/tokenizer.h"

#include <utility>

#include "data/checksum.h"
#include "data/durable_file.h"
#include "data/json.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/byte.h"
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

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  const std::string where = path.string();
  const Json json = parse_json(read_whole_file(path), where);
  const auto format = json_value<std::string>(json, "format", where);
  if (format != kTokenizerFormat)
    throw UserError(where, "has format '" + format + "' instead of '" + kTokenizerFormat + "'",
                    "it is no tokenizer of this version: prepare the data again");
  const auto kind = json_value<std::string>(json, "kind", where);
  if (kind == ByteTokenizer::kKind) return std::make_unique<ByteTokenizer>();
  if (kind != BpeTokenizer::kKind)
    throw UserError(where, "has a tokenizer of the unknown kind '" + kind + "'", "use one of: byte, bpe");

  std::vector<TokenPair> merges;
  std::vector<std::size_t> sizes(BpeTokenizer::kFirstMerge, 1);  // bytes of each token so far
  const auto fail_merge = [&](const char* what) {
    throw UserError(where, "merge " + std::to_string(merges.size()) + " " + what,
                    "bring back a good copy or prepare the data again");
  };
  for (const Json& merge : json_value<Json>(json, "merges", where)) {
    const auto limit = static_cast<std::int64_t>(BpeTokenizer::kFirstMerge + merges.size());
    const auto is_token = [&](const Json& value) {
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

void save_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& path) {
  write_durably(path, tokenizer.to_json());
}

}  // namespace trireme
