#include "data/file.h"

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/user_error.h"

namespace trireme {
namespace {

std::string free_space(const std::filesystem::path& path) {
  std::error_code error;
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const auto space = std::filesystem::space(folder, error);
  if (error) return "";
  return " (" + std::to_string(space.available >> 20) + " MiB free)";
}

std::string remedy_for(int error_number, const std::filesystem::path& path) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return "free some space or write elsewhere";
    case EACCES:
    case EPERM:
      return "check the permissions of the file and of its folder";
    case EROFS:
      return "write to a folder that isn't read-only";
    case ENOENT:
      return "check the name";
    case EEXIST:
      return "remove it or choose another name";
    case EMFILE:
    case ENFILE:
      return "raise the limit on open files (ulimit -n)";
    case EIO:
      return "check the disk that holds " + path.parent_path().string();
    default:
      return "check the name and the file system";
  }
}

}  // namespace

void throw_system_error(const std::filesystem::path& path, const std::string& action, int error_number) {
  std::string what = "cannot " + action + ": " + std::strerror(error_number);
  if (error_number == ENOSPC || error_number == EDQUOT) what += free_space(path);
  throw UserError(path.string(), what, remedy_for(error_number, path));
}

File::File(int descriptor, std::filesystem::path path) : descriptor_(descriptor), path_(std::move(path)) {}

File File::open(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw_system_error(path, "open it for reading", errno);
  File file(descriptor, path);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) throw_system_error(path, "examine it", errno);
  if (!S_ISREG(status.st_mode)) throw UserError(path.string(), "is not a regular file", "name a file");
  return file;
}

File File::create(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) throw_system_error(path, "create it", errno);
  return {descriptor, path};
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(path_, other.path_);
  return *this;
}

std::size_t File::read_some(std::int64_t offset, std::span<std::byte> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t count =
        ::pread(descriptor_, out.data() + done, out.size() - done, offset + static_cast<std::int64_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_system_error(path_, "read it", errno);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

void File::read_at(std::int64_t offset, std::span<std::byte> out) const {
  const std::size_t done = read_some(offset, out);
  if (done == out.size()) return;
  throw UserError(path_.string(),
                  "ends at byte " + std::to_string(offset + static_cast<std::int64_t>(done)) +
                      ", before the " + std::to_string(out.size()) + " bytes wanted at " +
                      std::to_string(offset),
                  "the file was cut short: write or copy it again");
}

void File::write_at(std::int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(descriptor_, bytes.data(), bytes.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw_system_error(path_, "write it", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += count;
  }
}

void File::reserve(std::int64_t size_bytes) {
  if (size_bytes <= 0) return;
  int result;
  do {
    result = ::fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, 0, size_bytes);
  } while (result != 0 && errno == EINTR);
  if (result != 0 && (errno == ENOSPC || errno == EDQUOT))
    throw_system_error(path_, "reserve " + std::to_string(size_bytes) + " bytes", errno);
  // Other refusals are of file systems that can't reserve: writing will show.
}

void File::start_writeback(std::int64_t offset, std::int64_t size_bytes) {
  ::sync_file_range(descriptor_, offset, size_bytes, SYNC_FILE_RANGE_WRITE);  // only advice: may fail
}

void File::sync() {
  if (::fsync(descriptor_) != 0) throw_system_error(path_, "bring it to the disk", errno);
}

std::int64_t File::size_bytes() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) throw_system_error(path_, "examine it", errno);
  return status.st_size;
}

std::string read_whole_file(const std::filesystem::path& path) {
  const File file = File::open(path);
  std::string text(static_cast<std::size_t>(file.size_bytes()), '\0');
  file.read_at(0, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace trireme
