#include "data/pair_reader.h"

#include <algorithm>
#include <memory>
#include <system_error>
#include <utility>

#include "data/byte_stream.h"
#include "data/document_reader.h"
#include "data/file.h"
#include "data/gettext.h"
#include "data/line_reader.h"
#include "data/unicode.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr std::size_t kMaxLineBytes = std::size_t{1} << 24;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::int64_t kPairsPerReport = 1 << 14;

// kAuto if the name doesn't tell.
PairFormat format_of_name(std::filesystem::path name) {
  if (name.extension() == ".gz" || name.extension() == ".zst") name = name.stem();
  const std::string extension = name.extension();
  if (extension == ".tsv") return PairFormat::kTsv;
  if (extension == ".mo" || extension == ".gmo") return PairFormat::kMo;
  if (extension == ".po") return PairFormat::kPo;
  return PairFormat::kAuto;
}

void add_files(const std::string& input, PairFormat format, PairFiles& all) {
  std::error_code error;
  const bool is_folder = std::filesystem::is_directory(input, error);
  for (const std::filesystem::path& path : list_text_files({input})) {
    const PairFormat found = format == PairFormat::kAuto ? format_of_name(path.filename()) : format;
    if (found != PairFormat::kAuto) {
      all.files.push_back({.format = found, .path = path, .target_path = {}});
    } else if (is_folder) {
      ++all.num_passed_over;
    } else {
      throw UserError(input, "holds pairs in an unknown format: its name ends in none of .tsv, .mo, .po",
                      "say which by --format, or give two aligned text files by --source and --target");
    }
  }
}

// A sentence: one line, trimmed.  `memory` holds it if it isn't a part of `text`.
std::string_view sentence_of(std::string_view text, std::string& memory) {
  text = trimmed(text);
  if (text.find_first_of("\r\n") == std::string_view::npos) return text;
  memory.clear();
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t end = std::min(text.find_first_of("\r\n", i), text.size());
    const std::string_view line = trimmed(text.substr(i, end - i));
    if (!memory.empty() && !line.empty()) memory += ' ';
    memory += line;
    i = end + 1;
  }
  return memory;
}

// The lines of one text file.
class Lines {
 public:
  explicit Lines(const std::filesystem::path& path)
      : path_(path.string()), stream_(open_byte_stream(path)), reader_(*stream_) {}

  // Without its end; false at the end of the file.
  bool next(std::string_view& line) {
    if (!reader_.next(line, kMaxLineBytes)) return false;
    ++count_;
    if (line.size() >= kMaxLineBytes) throw UserError(where(), "the line is longer than 16 MiB", "cut it");
    if (count_ == 1 && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
    line = without_line_end(line);
    return true;
  }

  std::int64_t count() const { return count_; }
  std::string where() const { return path_ + ":" + std::to_string(count_); }
  const std::string& path() const { return path_; }
  std::int64_t file_position() const { return stream_->file_position(); }

 private:
  std::string path_;
  std::unique_ptr<ByteStream> stream_;
  LineReader reader_;
  std::int64_t count_ = 0;  // lines given out
};

class Reader {
 public:
  explicit Reader(PairSink& sink) : sink_(sink) {}

  void read(const PairFile& file) {
    if (file.format == PairFormat::kLines) {
      read_lines(file.path, file.target_path);
    } else if (file.format == PairFormat::kTsv) {
      read_table(file.path);
    } else {
      read_catalog(file);
    }
  }

  const PairCounts& counts() const { return counts_; }

 private:
  void read_lines(const std::filesystem::path& source_path, const std::filesystem::path& target_path) {
    Lines sources(source_path);
    Lines targets(target_path);
    const auto position = [&] { return sources.file_position() + targets.file_position(); };
    std::string_view source;
    std::string_view target;
    for (;;) {
      const bool has_source = sources.next(source);
      const bool has_target = targets.next(target);
      if (has_source != has_target) refuse_unequal(sources, targets);
      if (!has_source) break;
      add(source, target, position);
    }
    end_file(position());
  }

  [[noreturn]] static void refuse_unequal(Lines& sources, Lines& targets) {
    std::string_view unused;
    while (sources.next(unused)) {
    }
    while (targets.next(unused)) {
    }
    throw UserError(sources.path(),
                    "has " + std::to_string(sources.count()) + " lines where " + targets.path() + " has " +
                        std::to_string(targets.count()),
                    "line i of one must be the translation of line i of the other: find where they part");
  }

  void read_table(const std::filesystem::path& path) {
    Lines rows(path);
    const auto position = [&] { return rows.file_position(); };
    for (std::string_view row; rows.next(row);) {
      const std::size_t tab = row.find('\t');
      if (tab == std::string_view::npos && trimmed(row).empty()) {
        ++counts_.empty;
        continue;
      }
      if (tab == std::string_view::npos || row.find('\t', tab + 1) != std::string_view::npos) {
        const auto num_columns = 1 + std::count(row.begin(), row.end(), '\t');
        throw UserError(rows.where(), "has " + std::to_string(num_columns) + " columns, not two",
                        "a row is a sentence, a tabulator and the translation");
      }
      add(row.substr(0, tab), row.substr(tab + 1), position);
    }
    end_file(position());
  }

  void read_catalog(const PairFile& file) {
    const std::unique_ptr<ByteStream> stream = open_byte_stream(file.path);
    const std::string where = file.path.string();
    const OnMessage on_message = [&](std::string_view original, std::string_view translation) {
      add(original, translation, [&] { return stream->file_position(); });
    };
    if (file.format == PairFormat::kMo) {
      read_mo(*stream, where, on_message);
    } else {
      const UnusedMessages unused = read_po(*stream, where, on_message);
      counts_.fuzzy += unused.fuzzy;
      counts_.obsolete += unused.obsolete;
    }
    end_file(stream->file_position());
  }

  template <typename Position>
  void add(std::string_view source, std::string_view target, const Position& position) {
    source = sentence_of(source, source_memory_);
    target = sentence_of(target, target_memory_);
    if (source.empty() || target.empty()) {
      ++counts_.empty;
      return;
    }
    ++counts_.read;
    sink_.add_pair(source, target);
    if (counts_.read % kPairsPerReport == 0) sink_.report_progress(bytes_before_ + position());
  }

  void end_file(std::int64_t size_bytes) {
    bytes_before_ += size_bytes;
    sink_.report_progress(bytes_before_);
  }

  PairSink& sink_;
  PairCounts counts_;
  std::int64_t bytes_before_ = 0;  // of the files before this one
  std::string source_memory_;
  std::string target_memory_;
};

}  // namespace

PairFiles list_pair_files(const PairInputs& inputs) {
  PairFiles all;
  for (const std::string& input : inputs.inputs) add_files(input, inputs.format, all);
  if (inputs.sources.size() != inputs.targets.size())
    throw UserError("--source",
                    "names " + std::to_string(inputs.sources.size()) + " files where --target names " +
                        std::to_string(inputs.targets.size()),
                    "give each file of sentences the file of its translations");
  for (std::size_t i = 0; i < inputs.sources.size(); ++i) {
    for (const std::string& name : {inputs.sources[i], inputs.targets[i]})
      File::open(name);  // says what is wrong
    all.files.push_back(
        {.format = PairFormat::kLines, .path = inputs.sources[i], .target_path = inputs.targets[i]});
  }
  if (all.files.empty())
    throw UserError(inputs.inputs.empty() ? "input" : inputs.inputs.front(), "holds no parallel text",
                    "name .tsv, .mo or .po files, folders of them, or text files by --source and --target");
  for (const PairFile& file : all.files) {
    all.total_bytes += static_cast<std::int64_t>(std::filesystem::file_size(file.path));
    if (!file.target_path.empty())
      all.total_bytes += static_cast<std::int64_t>(std::filesystem::file_size(file.target_path));
  }
  return all;
}

PairCounts read_pairs(const std::vector<PairFile>& files, PairSink& sink) {
  Reader reader(sink);
  for (const PairFile& file : files) reader.read(file);
  return reader.counts();
}

}  // namespace trireme
