#include "data/document_starts.h"

#include <algorithm>
#include <functional>
#include <span>
#include <string>

#include "data/shard.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr std::int64_t kBlockOffsets = kChecksumBlockBytes / static_cast<std::int64_t>(sizeof(std::uint64_t));

[[noreturn]] void fail(const File& file, const std::string& what) {
  throw UserError(file.path().string(), what, "bring back the right file or prepare the data again");
}

}  // namespace

DocumentStarts::DocumentStarts(const Hdf5Reader& shard, std::int64_t num_tokens, std::int64_t num_documents)
    : array_(shard.array(kDocumentOffsetsArray)),
      num_tokens_(num_tokens),
      checksums_(shard.checksums(kDocumentOffsetsArray)),
      firsts_(static_cast<std::size_t>(num_checksum_blocks(array_.size_bytes())), kUnknown) {
  if (array_.type != ElementType::kUInt64) {
    fail(shard.file(), std::string("has document offsets of type ") + to_string(array_.type) +
                           " instead of " + to_string(ElementType::kUInt64));
  }
  if (array_.size != num_documents) {
    fail(shard.file(), "has the offsets of " + std::to_string(array_.size) +
                           " documents where the manifest names " + std::to_string(num_documents));
  }
}

void DocumentStarts::append(const File& file, std::int64_t begin, std::int64_t end, std::int64_t shift,
                            std::vector<std::int64_t>& starts) {
  std::int64_t before = -1;
  for (std::size_t block = block_of(file, begin); block < firsts_.size(); ++block) {
    if (first_of(file, block) >= end) return;
    const std::vector<std::uint64_t> offsets = read_block(file, block);
    if (firsts_[block] <= before) fail(file, "has document offsets that don't ascend");
    before = static_cast<std::int64_t>(offsets.back());
    const auto first = std::lower_bound(offsets.begin(), offsets.end(), static_cast<std::uint64_t>(begin));
    const auto last = std::lower_bound(first, offsets.end(), static_cast<std::uint64_t>(end));
    for (auto offset = first; offset != last; ++offset) {
      starts.push_back(static_cast<std::int64_t>(*offset) + shift);
    }
    if (last != offsets.end()) return;
  }
}

// The last block whose first offset is at most `begin`, or the first block.
std::size_t DocumentStarts::block_of(const File& file, std::int64_t begin) {
  std::size_t low = 0, high = firsts_.size();
  while (high - low > 1) {
    const std::size_t middle = low + (high - low) / 2;
    (first_of(file, middle) <= begin ? low : high) = middle;
  }
  return low;
}

std::int64_t DocumentStarts::first_of(const File& file, std::size_t block) {
  if (firsts_[block] == kUnknown) read_block(file, block);
  return firsts_[block];
}

std::vector<std::uint64_t> DocumentStarts::read_block(const File& file, std::size_t block) {
  const std::int64_t begin = static_cast<std::int64_t>(block) * kBlockOffsets;
  std::vector<std::uint64_t> offsets(static_cast<std::size_t>(std::min(kBlockOffsets, array_.size - begin)));
  const auto bytes = std::as_writable_bytes(std::span(offsets));
  file.read_at(array_.offset + static_cast<std::int64_t>(block) * kChecksumBlockBytes, bytes);
  if (firsts_[block] != kUnknown) return offsets;
  if (!checksums_.empty() && checksum_of(bytes) != checksums_[block]) {
    throw_corrupt_block(file.path(), kDocumentOffsetsArray, static_cast<std::int64_t>(block));
  }
  if (std::adjacent_find(offsets.begin(), offsets.end(), std::greater_equal<>()) != offsets.end()) {
    fail(file, "has document offsets that don't ascend");
  }
  if (offsets.back() >= static_cast<std::uint64_t>(num_tokens_)) {
    fail(file, "has a document that begins at token " + std::to_string(offsets.back()) + " of " +
                   std::to_string(num_tokens_));
  }
  firsts_[block] = static_cast<std::int64_t>(offsets.front());
  return offsets;
}

}  // namespace trireme
