// What lies in a prepared folder: manifest.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace trireme {

inline constexpr const char* kManifestFile = "manifest.json";
inline constexpr const char* kTokenizerFile = "tokenizer.json";
inline constexpr const char* kTrainSplit = "train";
inline constexpr const char* kValidationSplit = "validation";

// What a data set is made of.
enum class Content : std::uint8_t {
  kText,   // documents, as one stream of tokens
  kPairs,  // sentences, each with its translation
};

struct ShardFacts {
  std::string file;  // in the folder
  std::int64_t num_tokens = 0;
  std::int64_t num_documents = 0;  // that begin in it; or pairs
  std::int64_t size_bytes = 0;     // of the file
  std::string checksum;            // of its blocks' checksums; empty in a data set written without them
};

struct SplitFacts {
  std::int64_t num_tokens = 0;         // ends of documents among them; pairs are stored without ends
  std::int64_t num_source_tokens = 0;  // of pairs: how many of num_tokens are in sources
  std::int64_t num_documents = 0;      // or pairs
  std::int64_t num_bytes = 0;          // of text
  // Nats per token, of the frequencies of tokens (of pairs, those of targets and one end each): the loss of
  // who knows only those.
  double unigram_entropy = 0.0;
  std::vector<ShardFacts> shards;  // in order: together one stream of tokens

  double bytes_per_token() const;
};

struct Manifest {
  Content content = Content::kText;
  std::string dataset_id;  // equal for equal tokens
  std::string tokenizer;   // identity of the one in tokenizer.json
  std::string tokenizer_kind;
  std::int64_t vocab_size = 0;
  std::map<std::string, SplitFacts> splits;

  // The name that follows from the tokenizer and the checksums of all shards.
  std::string computed_id() const;
  std::string to_json() const;
};

// Throws a UserError for a folder that `prepare` didn't finish or never saw.
Manifest load_manifest(const std::filesystem::path& folder);
// Throws the UserError for a data set of the other content.
void check_content(const Manifest& manifest, Content content, const std::filesystem::path& folder);

}  // namespace trireme
