#include "data/document_reader.h"

#include <algorithm>
#include <memory>
#include <span>
#include <system_error>

#include "data/byte_stream.h"
#include "data/file.h"
#include "data/json.h"
#include "data/line_reader.h"
#include "data/user_error.h"

namespace trireme {
namespace {

constexpr std::size_t kMaxRowBytes = std::size_t{1} << 30;

bool is_jsonl(const std::filesystem::path& file, TextFormat format) {
  if (format != TextFormat::kAuto) return format == TextFormat::kJsonl;
  std::filesystem::path name = file.filename();
  if (name.extension() == ".gz" || name.extension() == ".zst") name = name.stem();
  return name.extension() == ".jsonl" || name.extension() == ".ndjson";
}

bool is_hidden(const std::filesystem::path& path) {
  return path.filename().string().starts_with('.');
}

class FileReader {
 public:
  FileReader(const std::filesystem::path& file, std::int64_t bytes_before, const DocumentOptions& options,
             DocumentSink& sink)
      : file_(file),
        bytes_before_(bytes_before),
        options_(options),
        sink_(sink),
        stream_(open_byte_stream(file)) {}

  void read() {
    if (is_jsonl(file_, options_.format)) {
      read_rows();
    } else if (options_.separator.empty()) {
      read_whole();
    } else {
      read_separated();
    }
    sink_.report_progress(bytes_before_ + stream_->file_position());
  }

 private:
  void read_whole() {
    std::string piece(kPieceBytes, '\0');
    std::size_t count = 0;
    do {
      count = stream_->read(piece);
      add(std::string_view(piece).substr(0, count));
    } while (count == piece.size());
    end();
  }

  void read_separated() {
    LineReader lines(*stream_);
    std::string piece;
    bool line_begins = true;
    for (std::string_view line; lines.next(line, kPieceBytes); line_begins = line.ends_with('\n')) {
      const bool separates = line_begins && without_line_end(line) == options_.separator;
      if (!separates) piece += line;
      if (separates || piece.size() >= kPieceBytes) {
        add(piece);
        piece.clear();
      }
      if (separates) end();
    }
    add(piece);
    end();
  }

  void read_rows() {
    LineReader lines(*stream_);
    std::int64_t row = 0;
    for (std::string_view line; lines.next(line, kMaxRowBytes);) {
      const std::string where = file_.string() + ":" + std::to_string(++row);
      if (line.size() >= kMaxRowBytes) throw UserError(where, "the row is longer than 1 GiB", "cut it");
      if (line.find_first_not_of(" \t\r\n") == std::string_view::npos) continue;
      const Json json = parse_json(without_line_end(line), where);
      add(json_value<std::string>(json, options_.field.c_str(), where));
      end();
    }
  }

  void add(std::string_view bytes) {
    if (bytes.empty()) return;
    sink_.add_bytes(bytes);
    document_has_bytes_ = true;
    bytes_since_report_ += bytes.size();
    if (bytes_since_report_ < kPieceBytes) return;
    sink_.report_progress(bytes_before_ + stream_->file_position());
    bytes_since_report_ = 0;
  }

  void end() {
    if (document_has_bytes_) sink_.end_document();
    document_has_bytes_ = false;
  }

  const std::filesystem::path& file_;
  std::int64_t bytes_before_;  // of the files before this one
  const DocumentOptions& options_;
  DocumentSink& sink_;
  std::unique_ptr<ByteStream> stream_;
  bool document_has_bytes_ = false;
  std::size_t bytes_since_report_ = 0;
};

void add_folder(const std::filesystem::path& folder, std::vector<std::filesystem::path>& files) {
  std::error_code error;
  std::vector<std::filesystem::path> found;
  auto entry = std::filesystem::recursive_directory_iterator(folder, error);
  for (; !error && entry != std::filesystem::recursive_directory_iterator(); entry.increment(error)) {
    if (is_hidden(entry->path())) {
      entry.disable_recursion_pending();
    } else if (!entry->is_symlink(error) && entry->is_regular_file(error)) {
      found.push_back(entry->path());
    }
  }
  if (error) throw_system_error(folder, "list the folder", error.value());
  std::sort(found.begin(), found.end());
  files.insert(files.end(), found.begin(), found.end());
}

}  // namespace

std::vector<std::filesystem::path> list_text_files(const std::vector<std::string>& names) {
  std::vector<std::filesystem::path> files;
  for (const std::string& name : names) {
    std::error_code error;
    if (std::filesystem::is_directory(name, error)) {
      add_folder(name, files);
    } else {
      File::open(name);  // says now what is wrong with it
      files.emplace_back(name);
    }
  }
  if (files.empty())
    throw UserError(names.empty() ? "input" : names.front(), "holds no file",
                    "name text files or folders of them");
  return files;
}

void read_documents(const std::vector<std::filesystem::path>& files, const DocumentOptions& options,
                    DocumentSink& sink) {
  std::int64_t bytes_before = 0;
  for (const auto& file : files) {
    FileReader(file, bytes_before, options, sink).read();
    bytes_before += static_cast<std::int64_t>(std::filesystem::file_size(file));
  }
}

}  // namespace trireme
