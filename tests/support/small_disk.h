// A disk that is soon full.
#pragma once

#include <filesystem>
#include <string>

#include <sys/mount.h>

namespace trireme {

// A file system of a few mebibytes on a folder, until the end of the scope.  Only root may mount one.
class SmallDisk {
 public:
  SmallDisk(const std::filesystem::path& folder, int size_mib)
      : folder_(folder),
        mounted_(::mount("tmpfs", folder.c_str(), "tmpfs", 0,
                         ("size=" + std::to_string(size_mib) + "m").c_str()) == 0) {}
  ~SmallDisk() {
    if (mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool mounted() const { return mounted_; }

 private:
  std::filesystem::path folder_;
  bool mounted_;
};

}  // namespace trireme
