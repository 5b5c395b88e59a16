// Files that are whole or absent, whatever happens to the process or to the machine.
#pragma once

#include <filesystem>
#include <string_view>

#include "data/file.h"

namespace trireme {

enum class IfExists { kRefuse, kReplace };

// Writes under a temporary name in the same folder, NAME.tmp.<16 hex digits>; commit() brings the contents to
// the disk and only then gives them their name.  Destroyed without commit(), it leaves nothing; killed, it
// leaves the temporary, which is_temporary_name() tells from files that count.
//
//     DurableFile file("run/manifest.json");
//     file.contents().write_at(0, bytes);
//     file.commit();
class DurableFile {
 public:
  explicit DurableFile(const std::filesystem::path& path);
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  // The file under its temporary name.
  File& contents() { return file_; }
  // fsync, rename, fsync of the folder: when it returns, the file survives a power cut.  A name that has been
  // taken is a UserError, unless replacing it is asked for.
  void commit(IfExists if_exists = IfExists::kRefuse);

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  File file_;
  bool committed_ = false;
};

// A small file in one call.
void write_durably(const std::filesystem::path& path, std::string_view bytes,
                   IfExists if_exists = IfExists::kRefuse);

// Renames a file or folder, refusing or replacing what has the new name, and brings the new name to the disk.
// Replacing a folder swaps the two: the old one is then found under `from`.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to, IfExists if_exists);
void sync_folder(const std::filesystem::path& folder);

// `path` with an ending that no other process uses: what a killed writer leaves behind.
std::filesystem::path temporary_name(const std::filesystem::path& path);
bool is_temporary_name(const std::filesystem::path& path);

}  // namespace trireme
