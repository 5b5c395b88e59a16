// Parallel text: sentences and their translations, from aligned text files, tables and message catalogs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

enum class PairFormat : std::uint8_t {
  kAuto,   // by the name, before .gz or .zst: .tsv, .mo or .gmo, .po
  kTsv,    // a row is a sentence, a tabulator, its translation
  kMo,     // GNU gettext, binary
  kPo,     // GNU gettext, text
  kLines,  // two text files: line i of one is translated by line i of the other
};

struct PairInputs {
  std::vector<std::string> inputs;        // files and folders of the formats that hold both sides
  PairFormat format = PairFormat::kAuto;  // of `inputs`
  std::vector<std::string> sources;       // text files, line by line ...
  std::vector<std::string> targets;       // ... aligned with these
};

struct PairFile {
  PairFormat format = PairFormat::kLines;
  std::filesystem::path path;
  std::filesystem::path target_path;  // of kLines
};

struct PairFiles {
  std::vector<PairFile> files;
  std::int64_t total_bytes = 0;      // as they lie on the disk
  std::int64_t num_passed_over = 0;  // files in folders whose names say nothing of pairs
};

// What was read, and what of it was left out.
struct PairCounts {
  std::int64_t read = 0;      // pairs handed out
  std::int64_t empty = 0;     // one of the sides, or both, had nothing but white space
  std::int64_t fuzzy = 0;     // entries of .po files that are marked as guesses
  std::int64_t obsolete = 0;  // entries of .po files that are commented out
};

class PairSink {
 public:
  virtual ~PairSink() = default;
  // Both are one line, without white space at their ends, and not empty.  Valid during the call.
  virtual void add_pair(std::string_view source, std::string_view target) = 0;
  // Now and then: how many bytes of the files, as they lie on the disk, have been read.
  virtual void report_progress(std::int64_t bytes_read) = 0;
};

// Finds the files, in order: `inputs`, folders at any depth and sorted, then the aligned ones.  UserErrors: a
// name that doesn't exist, a named file of unknown format, sources without as many targets, no file at all.
PairFiles list_pair_files(const PairInputs& inputs);

// Reads all pairs in order; any file may be gzip or zstd.  A line end inside a message becomes a space. Bytes
// stay as they are, whatever character set a catalog's header names. UserErrors: files of unequal numbers of
// lines, a row that hasn't two columns, a damaged catalog.
PairCounts read_pairs(const std::vector<PairFile>& files, PairSink& sink);

}  // namespace trireme
