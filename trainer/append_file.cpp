#include "trainer/append_file.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <glog/logging.h>
#include <unistd.h>

#include "data/file.h"

namespace trireme {

AppendFile::AppendFile(const std::string& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw_system_error(path, "open the file for writing", errno);
}

AppendFile::~AppendFile() {
  ::close(descriptor_);
}

void AppendFile::append(std::string_view record) {
  const off_t whole = ::lseek(descriptor_, 0, SEEK_END);
  std::string_view rest = record;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written > 0) {
      rest.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      const int error = errno;
      const bool cut = whole >= 0 && ::ftruncate(descriptor_, whole) == 0;
      LOG_IF(ERROR, !complained_) << path_ << ": a record is lost: " << std::strerror(error)
                                  << (cut ? "" : "; the file ends in half a record")
                                  << "; the training goes on";
      complained_ = true;
      return;
    }
  }
}

}  // namespace trireme
