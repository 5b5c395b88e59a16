#include "data/durable_file.h"

#include <cerrno>
#include <cstdio>
#include <random>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "data/checksum.h"

namespace trireme {
namespace {

constexpr std::string_view kMark = ".tmp.";
constexpr std::size_t kNumDigits = 16;

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

// 0 or an errno.
int rename_with_flags(const std::filesystem::path& from, const std::filesystem::path& to, unsigned flags) {
  return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

// For file systems without flags for rename: the same, with a moment between look and deed.
int rename_refusing(const std::filesystem::path& from, const std::filesystem::path& to) {
  const int error = rename_with_flags(from, to, RENAME_NOREPLACE);
  if (error != EINVAL && error != ENOSYS) return error;
  std::error_code ignored;
  if (std::filesystem::exists(to, ignored)) return EEXIST;
  return std::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

int swap_folders(const std::filesystem::path& from, const std::filesystem::path& to) {
  const int error = rename_with_flags(from, to, RENAME_EXCHANGE);
  if (error != EINVAL && error != ENOSYS) return error;
  const auto aside = temporary_name(to);
  if (std::rename(to.c_str(), aside.c_str()) != 0) return errno;
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    const int second = errno;
    static_cast<void>(std::rename(aside.c_str(), to.c_str()));  // the old one takes its name back
    return second;
  }
  return std::rename(aside.c_str(), from.c_str()) == 0 ? 0 : errno;
}

}  // namespace

DurableFile::DurableFile(const std::filesystem::path& path)
    : path_(path), file_(File::create(temporary_name(path))) {}

DurableFile::~DurableFile() {
  if (!committed_) ::unlink(file_.path().c_str());
}

void DurableFile::commit(IfExists if_exists) {
  file_.sync();
  rename_durably(file_.path(), path_, if_exists);
  committed_ = true;
}

void write_durably(const std::filesystem::path& path, std::string_view bytes, IfExists if_exists) {
  DurableFile file(path);
  file.contents().write_at(0, std::as_bytes(std::span(bytes)));
  file.commit(if_exists);
}

void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to, IfExists if_exists) {
  std::error_code ignored;
  int error = 0;
  if (if_exists == IfExists::kRefuse) {
    error = rename_refusing(from, to);
  } else if (std::filesystem::is_directory(to, ignored)) {
    error = swap_folders(from, to);
  } else {
    error = std::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
  }
  if (error != 0) throw_system_error(to, "give " + from.filename().string() + " this name", error);
  sync_folder(folder_of(to));
}

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw_system_error(folder, "open the folder", errno);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // Some file systems can't sync a folder and say so; they have nothing to bring to the disk.
  if (error != 0 && error != EINVAL) throw_system_error(folder, "bring the folder to the disk", error);
}

std::filesystem::path temporary_name(const std::filesystem::path& path) {
  std::random_device random;
  const std::uint64_t attempt = std::uint64_t{random()} << 32 | random();
  return path.string() + std::string(kMark) + to_hex(attempt);
}

bool is_temporary_name(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  if (name.size() <= kMark.size() + kNumDigits) return false;
  const std::size_t mark = name.size() - kNumDigits - kMark.size();
  return name.compare(mark, kMark.size(), kMark) == 0 &&
         name.find_first_not_of("0123456789abcdef", mark + kMark.size()) == std::string::npos;
}

}  // namespace trireme
