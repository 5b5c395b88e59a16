// Text files, folders of them and JSON Lines, cut into documents; nothing larger than a piece is kept in
// memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

enum class TextFormat : std::uint8_t {
  kAuto,   // JSON Lines if the name says .jsonl or .ndjson, before .gz or .zst; else text
  kText,   // a file is one document, or several between lines that equal the separator
  kJsonl,  // a row is an object, one member of which is the document
};

struct DocumentOptions {
  TextFormat format = TextFormat::kAuto;
  std::string separator;       // of documents in text files; empty: none
  std::string field = "text";  // of a row of JSON Lines
};

// Who receives the documents.
class DocumentSink {
 public:
  virtual ~DocumentSink() = default;
  // The next bytes of the document, byte for byte as they are in the file.  At most about kPieceBytes, but
  // for a long row of JSON Lines.
  virtual void add_bytes(std::string_view bytes) = 0;
  virtual void end_document() = 0;
  // Now and then: how many bytes of the files, as they lie on the disk, have been read.
  virtual void report_progress(std::int64_t bytes_read) = 0;
};

inline constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

// Files stay as they are named; folders are replaced by the files in them, at any depth, sorted, without
// hidden ones and without symbolic links.  Throws a UserError for a name that doesn't exist, or if there is
// no file.
std::vector<std::filesystem::path> list_text_files(const std::vector<std::string>& names);

// Reads the files in order.  The pieces are the same each time.  Empty documents are left out.
void read_documents(const std::vector<std::filesystem::path>& files, const DocumentOptions& options,
                    DocumentSink& sink);

}  // namespace trireme
