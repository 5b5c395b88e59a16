#include "data/staging_folder.h"

#include <cerrno>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/file.h>
#include <unistd.h>

namespace trireme {
namespace {

// The lock on a folder, -1 if another process has it or there is no telling.
int try_to_lock(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0 && ::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
  if (descriptor >= 0) ::close(descriptor);
  return -1;
}

// Absolute, without links and without a last slash, so that its parent is the folder in which it really lies.
std::filesystem::path resolved(const std::filesystem::path& path) {
  const std::filesystem::path found = std::filesystem::weakly_canonical(std::filesystem::absolute(path));
  return found.has_filename() ? found : found.parent_path();
}

}  // namespace

StagingFolder::StagingFolder(const std::filesystem::path& final_path)
    : final_path_(resolved(final_path)), path_(temporary_name(final_path_)) {
  std::error_code error;
  std::filesystem::create_directories(final_path_.parent_path(), error);
  if (error) throw_system_error(final_path_.parent_path(), "create the folder", error.value());
  remove_leftovers();
  std::filesystem::create_directory(path_, error);
  if (error) throw_system_error(path_, "create the folder", error.value());
  lock_ = try_to_lock(path_);
}

StagingFolder::~StagingFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

void StagingFolder::remove_leftovers() const {
  const std::string prefix = final_path_.filename().string() + ".tmp.";
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(final_path_.parent_path(), error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || !is_temporary_name(name) || !entry.is_directory(error)) continue;
    const int lock = try_to_lock(entry.path());
    if (lock < 0) {
      LOG(WARNING) << entry.path().string() << " seems to be in use by another process and is left alone";
      continue;
    }
    LOG(INFO) << "removing " << entry.path().string() << ", left by a process that was stopped";
    std::error_code ignored;
    std::filesystem::remove_all(entry.path(), ignored);
    ::close(lock);
  }
}

void StagingFolder::publish(IfExists if_exists) {
  sync_folder(path_);
  std::error_code ignored;
  const bool exists = std::filesystem::exists(final_path_, ignored);
  if (exists && std::filesystem::is_empty(final_path_, ignored))
    std::filesystem::remove(final_path_, ignored);
  rename_durably(path_, final_path_, exists ? if_exists : IfExists::kRefuse);
}

}  // namespace trireme
