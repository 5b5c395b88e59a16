// A file that grows by whole records.
#pragma once

#include <string>
#include <string_view>

namespace trireme {

// Each record reaches the system before append() returns, so that a reader sees it and the end of this
// process cannot lose it.  A disk that refuses a record does not stop the caller: the file is cut back to its
// last whole record, the loss is logged once, and later records are tried again.
class AppendFile {
 public:
  // Throws UserError if the file cannot be opened or made.
  explicit AppendFile(const std::string& path);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  void append(std::string_view record);

 private:
  std::string path_;
  int descriptor_ = -1;
  bool complained_ = false;
};

}  // namespace trireme
