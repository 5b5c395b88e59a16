#include "trainer/checkpoint/folders.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>

#include <glog/logging.h>

#include "data/durable_file.h"
#include "data/file.h"
#include "data/user_error.h"
#include "trainer/checkpoint/manifest.h"

namespace trireme {
namespace {

constexpr std::string_view kPrefix = "step_";
constexpr std::size_t kMaxDigits = 18;  // fits an int64

std::filesystem::path folder_of_all(const std::filesystem::path& run) {
  return run / "checkpoints";
}

// The step in the name of a checkpoint's folder; -1 for other names.
std::int64_t step_of(const std::filesystem::path& folder) {
  const std::string name = folder.filename().string();
  if (!name.starts_with(kPrefix)) return -1;
  const std::string digits = name.substr(kPrefix.size());
  const bool is_number =
      !digits.empty() && digits.size() <= kMaxDigits &&
      std::all_of(digits.begin(), digits.end(), [](unsigned char c) { return std::isdigit(c); });
  return is_number ? std::stoll(digits) : -1;
}

std::vector<std::filesystem::path> folders_in(const std::filesystem::path& parent) {
  std::vector<std::filesystem::path> folders;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(parent, error)) {
    std::error_code unreadable;
    if (entry.is_directory(unreadable)) folders.push_back(entry.path());
  }
  if (error && error != std::errc::no_such_file_or_directory)
    throw_system_error(parent, "list it", error.value());
  return folders;
}

bool looks_whole(const std::filesystem::path& folder) {
  try {
    read_manifest(folder);
    return true;
  } catch (const UserError&) {
    return false;
  }
}

}  // namespace

std::filesystem::path checkpoint_folder(const std::filesystem::path& run, std::int64_t step) {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "step_%08lld", static_cast<long long>(step));
  return folder_of_all(run) / name.data();
}

std::vector<std::filesystem::path> find_checkpoints(const std::filesystem::path& run) {
  std::vector<std::filesystem::path> found = folders_in(folder_of_all(run));
  std::erase_if(found, [](const auto& folder) { return step_of(folder) < 0; });
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return step_of(a) > step_of(b); });
  return found;
}

std::filesystem::path newest_checkpoint(const std::filesystem::path& run) {
  const std::vector<std::filesystem::path> found = find_checkpoints(run);
  const auto newest = std::find_if(found.begin(), found.end(), looks_whole);
  if (newest != found.end()) return *newest;
  if (!found.empty()) read_manifest(found.front());  // throws what is wrong with it
  throw UserError(folder_of_all(run).string(), "there is no checkpoint", "train first, or name another run");
}

void discard_folder(const std::filesystem::path& folder) {
  const std::filesystem::path nameless =
      temporary_name(is_temporary_name(folder) ? folder.parent_path() / "discarded" : folder);
  std::error_code error;
  std::filesystem::rename(folder, nameless, error);
  if (!error) std::filesystem::remove_all(nameless, error);
  if (error && error != std::errc::no_such_file_or_directory)
    LOG(WARNING) << "cannot remove " << folder.string() << ": " << error.message();
}

std::filesystem::path set_aside(const std::filesystem::path& folder) {
  std::filesystem::path aside = folder.string() + ".damaged";
  for (int i = 2; std::filesystem::exists(aside); ++i)
    aside = folder.string() + ".damaged." + std::to_string(i);
  rename_durably(folder, aside, IfExists::kRefuse);
  return aside;
}

void prune_checkpoints(const std::filesystem::path& run, const KeepPolicy& keep, std::int64_t saved_step) {
  std::int64_t num_kept = 0;
  for (const std::filesystem::path& folder : find_checkpoints(run)) {
    if (!looks_whole(folder)) continue;
    const std::int64_t step = step_of(folder);
    const bool is_recent = num_kept < keep.last;
    ++num_kept;
    if (is_recent || step == saved_step || (keep.every > 0 && step % keep.every == 0)) continue;
    discard_folder(folder);
  }
}

void clean_checkpoints(const std::filesystem::path& run) {
  for (const std::filesystem::path& folder : folders_in(folder_of_all(run))) {
    if (is_temporary_name(folder)) discard_folder(folder);
  }
}

}  // namespace trireme
