// Where the documents of a shard begin.
#pragma once

#include <cstdint>
#include <vector>

#include "data/file.h"
#include "data/hdf5_file.h"

namespace trireme {

// The array `document_offsets` of one shard, a block of kChecksumBlockBytes at a time.  What is kept in
// memory are the checksum and the first offset of each block: two numbers for 8,192 documents.
//
// No offset comes out unchecked: a block is compared with its checksum when it is first touched, and its
// offsets must ascend and lie in the shard.  Whatever is wrong is a UserError by the shard's name.
class DocumentStarts {
 public:
  // `shard` has passed open_shard, which names these numbers of tokens and documents.
  DocumentStarts(const Hdf5Reader& shard, std::int64_t num_tokens, std::int64_t num_documents);

  // Appends the starts in [begin, end), ascending, each moved on by `shift`.  Costs a search among the
  // blocks, in memory once they have been touched, and one pread for each that holds some of them.  `file` is
  // the shard's.
  void append(const File& file, std::int64_t begin, std::int64_t end, std::int64_t shift,
              std::vector<std::int64_t>& starts);

 private:
  static constexpr std::int64_t kUnknown = -1;

  std::vector<std::uint64_t> read_block(const File& file, std::size_t block);
  std::int64_t first_of(const File& file, std::size_t block);
  std::size_t block_of(const File& file, std::int64_t begin);

  Hdf5Reader::Array array_;
  std::int64_t num_tokens_;
  std::vector<std::uint64_t> checksums_;  // by block; or none
  std::vector<std::int64_t> firsts_;      // by block; kUnknown until it has been checked
};

}  // namespace trireme
