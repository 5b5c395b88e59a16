// A folder that appears under its name whole or not at all.
#pragma once

#include <filesystem>

#include "data/durable_file.h"

namespace trireme {

// Files are put into a folder beside the final one, NAME.tmp.<16 hex digits>; publish() gives it the name.
// Destroyed without publish(), it is removed; what a killed process left is removed by the next one with the
// same name.  A lock on the folder tells the left-over from the folder of a process that still runs.
class StagingFolder {
 public:
  explicit StagingFolder(const std::filesystem::path& final_path);
  ~StagingFolder();
  StagingFolder(const StagingFolder&) = delete;
  StagingFolder& operator=(const StagingFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // At one moment all of it has the final name, and survives a power cut.  What had the name before is a
  // UserError, unless it was empty; to be replaced, it is there until that moment and removed after it.
  void publish(IfExists if_exists);

 private:
  void remove_leftovers() const;

  std::filesystem::path final_path_;
  std::filesystem::path path_;
  int lock_ = -1;
};

}  // namespace trireme
