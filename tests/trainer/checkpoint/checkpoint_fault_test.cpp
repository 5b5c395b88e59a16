// Checkpoints that are not what was written: never loaded, named, and the one before is taken instead.
#include <fstream>
#include <random>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/file.h"
#include "tests/support/throws.h"
#include "tests/trainer/checkpoint/shared_run.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/rank_file.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

class CheckpointFaultTest : public SharedRunTest {
 protected:
  void SetUp() override {
    ASSERT_EQ(save(10), std::nullopt);
    ASSERT_EQ(save(20), std::nullopt);
    for (const auto& entry : fs::directory_iterator(newest_)) files_.insert(entry.path().filename());
    ASSERT_EQ(files_.size(), static_cast<std::size_t>(world_.size() + 1));
  }

  // Puts `bytes` in place of a file of the newest checkpoint; it must not be loaded; puts the file back.
  void expect_refused(const std::string& file, const std::string& bytes, const std::string& what) {
    const std::string good = read_whole_file(newest_ / file);
    on_disk([&] { write(newest_ / file, bytes); });
    ASSERT_EQ(load(), 10) << file << ": " << what;
    on_disk([&] { write(newest_ / file, good); });
  }

  const fs::path newest_ = checkpoint_folder(run_, 20);
  const fs::path previous_ = checkpoint_folder(run_, 10);
  std::set<std::string> files_;
};

TEST_F(CheckpointFaultTest, EveryFlippedBitIsFound) {
  std::mt19937 random(1);  // the same on all ranks
  for (const std::string& file : files_) {
    const std::string good = read_whole_file(newest_ / file);
    for (std::size_t i = 0; i < 120 / files_.size(); ++i) {
      std::string bad = good;
      const std::size_t position = i == 0 ? 0 : i == 1 ? bad.size() - 1 : random() % bad.size();
      bad[position] = static_cast<char>(bad[position] ^ (1 << random() % 8));
      expect_refused(file, bad, "a bit of byte " + std::to_string(position));
    }
  }
  EXPECT_EQ(load(), 20);
}

TEST_F(CheckpointFaultTest, TruncatedEmptyAndLongerFilesAreFound) {
  for (const std::string& file : files_) {
    const std::string good = read_whole_file(newest_ / file);
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, good.size() / 2, good.size() - 1})
      expect_refused(file, good.substr(0, size), "cut to " + std::to_string(size));
    expect_refused(file, good + '\0', "one byte more");
  }
  EXPECT_EQ(load(), 20);
}

TEST_F(CheckpointFaultTest, ForeignFilesAreFound) {
  for (const std::string& file : files_) {
    expect_refused(file, "not one of ours", "text");
    expect_refused(file, read_whole_file(previous_ / file), "the same file of another checkpoint");
    const std::string other = file == kManifestName ? rank_file_name(0, world_.size()) : kManifestName;
    expect_refused(file, read_whole_file(newest_ / other), other);
  }
  EXPECT_EQ(load(), 20);
}

// Text that is JSON, has our format's name, and yet is not to be trusted.
TEST_F(CheckpointFaultTest, EditedManifestsAreFound) {
  const std::string good = read_whole_file(newest_ / kManifestName);
  for (const auto& [from, to] : {std::pair{"\"step\": 20", "\"step\": 21"},
                                 {"\"seed\": 7", "\"seed\":  7"},
                                 {"\"version\": 1", "\"version\": 2"},
                                 {"\"xxh3\"", "\"xxh4\""},
                                 {"\"begin\": 0", "\"begin\": \"0\""}}) {
    std::string bad = good;
    ASSERT_NE(bad.find(from), std::string::npos) << from;
    expect_refused(kManifestName, bad.replace(bad.find(from), std::strlen(from), to), to);
  }
}

// Files and manifest are as they were written; what was written is not what the run held.
TEST_F(CheckpointFaultTest, ManifestsThatDoNotFitTheirFilesAreFound) {
  const auto expect_change_refused = [&](const std::string& what, auto change) {
    CheckpointManifest manifest = read_manifest(newest_);
    change(manifest);
    expect_refused(kManifestName, manifest.to_json(), what);
  };
  expect_change_refused("tensor's checksum", [](auto& manifest) { manifest.tensors[1].checksum ^= 1; });
  expect_change_refused("missing file", [](auto& manifest) { manifest.files.pop_back(); });
  expect_change_refused("shorter slice", [](auto& manifest) { --manifest.files.back().end; });
  expect_change_refused("longer slice", [](auto& manifest) { ++manifest.files.back().end; });
  EXPECT_EQ(load(), 20);
}

TEST_F(CheckpointFaultTest, MissingFilesAreFound) {
  for (const std::string& file : files_) {
    on_disk([&] { fs::rename(newest_ / file, newest_ / "elsewhere"); });
    EXPECT_EQ(load(), 10) << file;
    on_disk([&] { fs::rename(newest_ / "elsewhere", newest_ / file); });
  }
  EXPECT_EQ(load(), 20);
}

TEST_F(CheckpointFaultTest, FoldersThatAreNoCheckpointsArePassedOver) {
  on_disk([&] {
    fs::create_directory(checkpoint_folder(run_, 30));
    fs::create_directory(run_ / "checkpoints" / "step_00000040.tmp.0123456789abcdef");
    fs::create_directory(run_ / "checkpoints" / "step_");
    fs::create_directory(run_ / "checkpoints" / "step_99999999999999999999999");
    fs::create_directory(run_ / "checkpoints" / "notes");
    write(run_ / "checkpoints" / "step_00000050", "a file");
  });
  EXPECT_EQ(load(), 20);
}

TEST_F(CheckpointFaultTest, WhenAllAreDamagedTheUserIsTold) {
  on_disk([&] {
    fs::resize_file(newest_ / kManifestName, 0);
    fs::remove(previous_ / rank_file_name(0, world_.size()));
  });
  EXPECT_THAT([&] { load(); }, ThrowsUserError(AllOf(HasSubstr("none of 2 checkpoints is whole"),
                                                     HasSubstr("step_00000020/manifest.json: is empty"))));
}

TEST_F(CheckpointFaultTest, LeftoversOfKilledSavesAreCleanedAndNothingElse) {
  const auto leftover = run_ / "checkpoints" / "step_00000030.tmp.0123456789abcdef";
  on_disk([&] {
    fs::create_directory(leftover);
    write(leftover / "rank_00000_of_00001.h5", "half");
    fs::create_directory(run_ / "checkpoints" / "notes");
    clean_checkpoints(run_);
  });
  EXPECT_THAT(names(), testing::ElementsAre("notes", "step_00000010", "step_00000020"));
}

}  // namespace
}  // namespace trireme
