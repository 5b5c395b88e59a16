// From text to a data set: shards, tokenizer, manifest.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/document_reader.h"
#include "data/manifest.h"
#include "data/staging_folder.h"
#include "data/text_sample.h"
#include "data/tokenizer/tokenizer.h"

namespace trireme {

struct PrepareOptions {
  std::vector<std::string> inputs;  // files and folders, in this order
  std::string output;               // a folder that isn't there yet, or is empty
  bool replace = false;             // an older data set in `output`, once the new one is whole
  DocumentOptions documents;

  // "byte"; "bpe", "sentencepiece" or "sentencepiece-bpe", to be trained; or a file that import_tokenizer()
  // takes.
  std::string tokenizer = "bpe";
  std::string end_of_document;      // for import_tokenizer()
  std::int64_t vocab_size = 4096;   // of a tokenizer to be trained
  std::int64_t training_mib = 128;  // of text it is trained on, at most: they are kept in memory

  double validation_fraction = 0.05;                  // SplitPlan says how
  std::uint64_t seed = 0;                             // of the draw of validation documents
  std::int64_t shard_tokens = std::int64_t{1} << 25;  // 4 bytes of memory each
};

struct PrepareProgress {
  const char* phase;  // what is being done
  std::int64_t bytes_done = 0;
  std::int64_t bytes_total = 0;  // of the files, as they lie on the disk
};

struct PrepareSummary {
  Manifest manifest;
  std::int64_t num_files = 0;
  std::int64_t num_documents = 0;
  std::int64_t num_bytes = 0;       // of text
  std::int64_t num_not_utf8 = 0;    // documents, kept as they are
  bool documents_cut = false;       // the validation split is the documents' ends
  std::int64_t training_bytes = 0;  // text that the tokenizer was trained on; 0 if it was not
};

// Reads all text twice: to plan (sizes, split, tokenizer), then to write.  Memory is bounded by the options,
// whatever the size of the text.  The same text and options give the same data set, byte for byte.
//
// `output` appears when all is written and on the disk.  A failure, or a kill, leaves it as it was.
PrepareSummary prepare(const PrepareOptions& options,
                       const std::function<void(const PrepareProgress&)>& on_progress);

// What preparing pairs has in common with it (prepare_pairs.h).

// Throws the UserError for an option out of its range or an output that is taken.
void check_options(const PrepareOptions& options);
// Whether the tokenizer is one to be trained.
bool trains_tokenizer(const PrepareOptions& options);
// The tokenizer that the options name, trained on the sample if that is asked for.
std::unique_ptr<Tokenizer> make_tokenizer(const PrepareOptions& options, const TextSample& sample);
// Completes the manifest, which has its splits, writes it and the tokenizer and gives the folder its name.
void publish_data_set(Manifest& manifest, const Tokenizer& tokenizer, StagingFolder& folder, bool replace);

}  // namespace trireme
