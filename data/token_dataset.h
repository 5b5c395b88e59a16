// One split of a prepared folder, as one long stream of tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/document_starts.h"
#include "data/file.h"
#include "data/hdf5_file.h"
#include "data/manifest.h"

namespace trireme {

// Random access costs one pread: HDF5 is asked once, when a shard is opened, where its tokens lie.  No more
// than `max_open_shards` are open at a time.
//
// No token comes out unchecked: a block of kChecksumBlockBytes is read whole and compared with its checksum
// when it is first touched, and its tokens with the size of the vocabulary.  Whatever is wrong with a shard
// is a UserError by its name.
//
// One thread at a time.
class TokenDataset {
 public:
  static constexpr std::size_t kDefaultMaxOpenShards = 64;

  // Checks the manifest, that the shards are there with the sizes it names, and that the tokenizer beside
  // them is the one they were made with.  Opens no shard.
  //
  // Of a data set of pairs the stream is source, target, source, target ...; PairDataset knows where each
  // begins.
  TokenDataset(const std::filesystem::path& folder, const std::string& split,
               std::size_t max_open_shards = kDefaultMaxOpenShards, Content content = Content::kText);

  // Tokens [position, position + out.size()) of the split.  REQUIRES: they are there.
  void read(std::int64_t position, std::span<std::int32_t> out);
  // Appends the places in [position, position + size) at which documents begin, ascending.  REQUIRES: they
  // are there; a split of text.
  void document_starts(std::int64_t position, std::int64_t size, std::vector<std::int64_t>& starts);
  // Reads everything and checks everything.
  void verify();

  std::int64_t num_tokens() const { return facts().num_tokens; }
  std::int64_t vocab_size() const { return manifest_.vocab_size; }
  // Equal for equal tokens: what a checkpoint remembers of its data.
  const std::string& id() const { return manifest_.dataset_id; }
  // Identity of the tokenizer that made the tokens.
  const std::string& tokenizer() const { return manifest_.tokenizer; }
  const SplitFacts& facts() const { return manifest_.splits.at(split_); }
  const Manifest& manifest() const { return manifest_; }
  const std::filesystem::path& folder() const { return folder_; }
  const std::string& split() const { return split_; }

 private:
  // What is known of a shard once it has been opened, and stays known when it is closed again.
  struct Shard {
    std::int64_t begin = 0;  // its first token in the split
    Hdf5Reader::Array tokens;
    std::vector<std::uint64_t> checksums;
    std::vector<bool> is_checked;             // by block
    std::optional<DocumentStarts> documents;  // once they have been asked for
  };
  struct OpenShard {
    std::size_t index;
    File file;
  };

  void check_files() const;
  // Calls part(index, begin, size) for the parts of the stream that lie in each shard, `begin` counted in it.
  template <typename Part>
  void for_each_shard(std::int64_t position, std::int64_t size, Part part);
  const File& open(std::size_t index);
  void check_blocks(const File& file, std::size_t index, std::int64_t begin_byte, std::int64_t end_byte);
  void check_block(const File& file, std::size_t index, std::int64_t block);
  DocumentStarts& documents_of(std::size_t index);
  void read_from_shard(std::size_t index, std::int64_t begin, std::span<std::int32_t> out);

  std::filesystem::path folder_;
  std::string split_;
  Manifest manifest_;
  std::size_t max_open_shards_;
  std::vector<Shard> shards_;
  std::list<OpenShard> open_;  // the one used last comes first
  std::vector<std::byte> block_;
  std::vector<std::uint16_t> narrow_;
};

}  // namespace trireme
