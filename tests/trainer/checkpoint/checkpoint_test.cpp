// Saving, loading and keeping, on any number of ranks.
#include "trainer/checkpoint/checkpoint.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "data/durable_file.h"
#include "data/file.h"
#include "parallel/self_communicator.h"
#include "tests/support/throws.h"
#include "tests/trainer/checkpoint/shared_run.h"
#include "trainer/checkpoint/load.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/rank_file.h"

// HDF5 keeps a block of memory of a file that it could not close on a full disk.
extern "C" const char* __lsan_default_suppressions();  // NOLINT: the leak sanitizer's name
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libhdf5";
}

namespace trireme {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Optional;

constexpr std::int64_t kGoldenElements = 1201;

class CheckpointTest : public SharedRunTest {};

// A file system of 4 MiB over a folder.
class SmallDisk {
 public:
  explicit SmallDisk(std::filesystem::path folder)
      : folder_(std::move(folder)), mounted_(mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=4m") == 0) {}
  ~SmallDisk() {
    if (mounted_) umount2(folder_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  bool is_mounted() const { return mounted_; }

 private:
  std::filesystem::path folder_;
  bool mounted_;
};

TEST_F(CheckpointTest, NoCheckpointIsNoError) {
  EXPECT_EQ(load(), -1);
}

TEST_F(CheckpointTest, LoadsWhatWasSavedToTheBit) {
  ASSERT_EQ(save(120), std::nullopt);
  EXPECT_EQ(load(), 120);
  EXPECT_THAT(names(), ElementsAre("step_00000120"));
}

TEST_F(CheckpointTest, TensorsMayBeShorterThanThereAreRanksAndLongerThanABlock) {
  for (const std::int64_t size : {0, 1, 2, 3, 262144, 600001}) {
    SmallState state(size + 1, world_, size);
    ASSERT_EQ(save_checkpoint(run_, state.contents(), {}, world_), std::nullopt);
    state.forget();
    ASSERT_TRUE(load_newest_checkpoint(run_, state.contents(), world_));
    EXPECT_TRUE(state.is_of_step(size + 1)) << size << " elements";
  }
}

TEST_F(CheckpointTest, OneRankLoadsWhatAllSavedAndTheOtherWayRound) {
  SelfCommunicator alone;
  ASSERT_EQ(save(10), std::nullopt);
  SmallState state(0, alone);
  state.forget();
  ASSERT_TRUE(load_newest_checkpoint(run_, state.contents(), alone));
  EXPECT_TRUE(state.is_of_step(10));

  on_disk([&] {
    SmallState next(20, alone);
    EXPECT_EQ(save_checkpoint(run_, next.contents(), {}, alone), std::nullopt);
  });
  EXPECT_EQ(load(), 20);
}

// Other versions cut them elsewhere.
TEST_F(CheckpointTest, FilesMayEndAnywhere) {
  on_disk([&] {
    SelfCommunicator alone;
    SmallState state(10, alone);
    ASSERT_EQ(save_checkpoint(run_, state.contents(), {}, alone), std::nullopt);
    const auto folder = checkpoint_folder(run_, 10);
    CheckpointManifest manifest = read_manifest(folder);
    std::filesystem::remove(folder / manifest.files[0].name);
    manifest.files.clear();
    std::int64_t begin = 0;
    for (const std::int64_t end : {1, 20000, 20001, 20001, 40000, 60011}) {
      RankFileWriter file(
          folder, manifest,
          {.name = rank_file_name(static_cast<int>(manifest.files.size()), 6), .begin = begin, .end = end});
      for (std::size_t i = 0; i < manifest.tensors.size(); ++i) {
        file.begin_tensor(manifest.tensors[i].name);
        file.append(std::span(state.memory(i)).subspan(begin, end - begin));
      }
      manifest.files.push_back(file.commit());
      begin = end;
    }
    write_durably(folder / kManifestName, manifest.to_json(), IfExists::kReplace);
  });
  EXPECT_EQ(load(), 10);
}

// Written before ranks held pieces: slices ended anywhere then.
TEST_F(CheckpointTest, LoadsWhatEarlierVersionsWrote) {
  for (const char* const run : {"one_rank", "two_ranks"}) {
    SmallState state(0, world_, kGoldenElements);
    state.forget();
    ASSERT_TRUE(
        load_newest_checkpoint(std::filesystem::path(TRIREME_GOLDEN_DIR) / run, state.contents(), world_));
    EXPECT_TRUE(state.is_of_step(10)) << run;
  }
}

TEST_F(CheckpointTest, OneRankWritesTheSameBytesAsEver) {
  on_disk([&] {
    SelfCommunicator alone;
    SmallState state(10, alone, kGoldenElements);
    ASSERT_EQ(save_checkpoint(run_, state.contents(), {}, alone), std::nullopt);
    const auto golden = checkpoint_folder(std::filesystem::path(TRIREME_GOLDEN_DIR) / "one_rank", 10);
    for (const std::string& name : {rank_file_name(0, 1), std::string(kManifestName)})
      EXPECT_TRUE(read_whole_file(checkpoint_folder(run_, 10) / name) == read_whole_file(golden / name))
          << name;
  });
}

TEST_F(CheckpointTest, LoadsSomeTensorsByTheManifestAlone) {
  ASSERT_EQ(save(30), std::nullopt);
  const auto folder = newest_checkpoint(run_);
  const CheckpointManifest manifest = read_manifest(folder);
  EXPECT_EQ(manifest.state.step, 30);
  EXPECT_EQ(manifest.model_json, R"({"width":16,"heads":2,"dropout":0.1})");
  EXPECT_EQ(manifest.files.size(), static_cast<std::size_t>(world_.size()));
  EXPECT_THAT(describe(manifest),
              AllOf(HasSubstr("step      30"), HasSubstr("head.weight [30006] at 30005")));

  SmallState state(0, world_);
  const std::vector<CheckpointTensor> moments{state.contents().tensors[1]};
  load_tensors(folder, manifest, manifest.layout, moments, world_);
  EXPECT_TRUE(state.holds(1, 30));
  EXPECT_TRUE(state.holds(0, 0));

  const std::vector<CheckpointTensor> unknown{{"momentum", {}, {}}};
  EXPECT_THAT([&] { load_tensors(folder, manifest, manifest.layout, unknown, world_); },
              ThrowsUserError(HasSubstr("does not hold momentum")));
}

TEST_F(CheckpointTest, KeepsTheLastAndThoseAtMultiples) {
  for (const std::int64_t step : {10, 20, 30, 40, 50, 60, 70})
    ASSERT_EQ(save(step, {.last = 2, .every = 30}), std::nullopt);
  EXPECT_THAT(names(), ElementsAre("step_00000030", "step_00000060", "step_00000070"));
}

TEST_F(CheckpointTest, TheOneJustSavedStaysWhateverThePolicy) {
  ASSERT_EQ(save(50), std::nullopt);
  ASSERT_EQ(save(10, {.last = 1}), std::nullopt);
  EXPECT_THAT(names(), ElementsAre("step_00000010", "step_00000050"));
  ASSERT_EQ(save(60, {.last = 0}), std::nullopt);
  EXPECT_THAT(names(), ElementsAre("step_00000060"));
}

TEST_F(CheckpointTest, DamagedCheckpointsDoNotCountAmongTheLast) {
  ASSERT_EQ(save(10), std::nullopt);
  ASSERT_EQ(save(20), std::nullopt);
  on_disk([&] { std::filesystem::resize_file(checkpoint_folder(run_, 20) / kManifestName, 10); });
  ASSERT_EQ(save(30, {.last = 2}), std::nullopt);
  EXPECT_THAT(names(), ElementsAre("step_00000010", "step_00000020", "step_00000030"));
}

TEST_F(CheckpointTest, SavingTheSameAgainIsFineAndOtherValuesAreRefused) {
  ASSERT_EQ(save(10), std::nullopt);
  const auto before = std::filesystem::last_write_time(checkpoint_folder(run_, 10) / kManifestName);
  EXPECT_EQ(save(10), std::nullopt);
  EXPECT_EQ(std::filesystem::last_write_time(checkpoint_folder(run_, 10) / kManifestName), before);

  SmallState other(11, world_);
  other.contents().state.step = 10;
  EXPECT_THAT(save_checkpoint(run_, other.contents(), {}, world_), Optional(HasSubstr("saved before")));
  EXPECT_EQ(load(), 10);
  EXPECT_THAT(names(), ElementsAre("step_00000010"));
}

TEST_F(CheckpointTest, DamagedCheckpointOfTheSameStepIsSetAside) {
  ASSERT_EQ(save(10), std::nullopt);
  on_disk([&] { std::filesystem::remove(checkpoint_folder(run_, 10) / kManifestName); });
  EXPECT_EQ(save(10), std::nullopt);
  EXPECT_EQ(load(), 10);
  EXPECT_THAT(names(), ElementsAre("step_00000010", "step_00000010.damaged"));
}

TEST_F(CheckpointTest, AnotherRunsCheckpointIsRefusedByName) {
  ASSERT_EQ(save(10), std::nullopt);
  const auto loading = [&](auto change) {
    return [&, change] {
      SmallState state(0, world_);
      change(state.contents());
      load_newest_checkpoint(run_, state.contents(), world_);
    };
  };
  EXPECT_THAT(
      loading([](auto& c) { c.layout[1].name = "head.bias"; }),
      ThrowsUserError(HasSubstr("another model: it has head.weight [30006] where this model has head.bias")));
  EXPECT_THAT(
      loading([](auto& c) {
        c.layout[0].shape = {7, 3};
      }),
      ThrowsUserError(HasSubstr("embedding.weight [30005] where this model has embedding.weight [7, 3]")));
  EXPECT_THAT(loading([](auto& c) { c.layout.pop_back(); }),
              ThrowsUserError(HasSubstr("this model ends before its head.weight [30006]")));
  EXPECT_THAT(loading([](auto& c) {
                c.layout.push_back({"tail", SmallState::kNumElements, {1}});
              }),
              ThrowsUserError(HasSubstr("it ends before tail [1]")));
  EXPECT_THAT(loading([](auto& c) { c.model_json = R"({"width":16,"heads":4,"dropout":0.1})"; }),
              ThrowsUserError(HasSubstr("heads is 2 in the checkpoint and 4 in the config")));
  EXPECT_THAT(loading([](auto& c) { c.state.seed = 8; }),
              ThrowsUserError(AllOf(HasSubstr("seed 7, not 8"), HasSubstr("set run.seed=7"))));
  EXPECT_THAT(loading([](auto& c) { c.state.dataset_id = "verse"; }),
              ThrowsUserError(AllOf(HasSubstr("data prose, not verse"), HasSubstr("data.path"))));
  EXPECT_NO_THROW(loading([](auto& c) { c.model_json = R"({"width":16,"heads":2,"dropout":0})"; })());
}

TEST_F(CheckpointTest, ReplicasThatDifferAreNotSaved) {
  if (world_.size() == 1) GTEST_SKIP() << "needs two ranks";
  SmallState state(10, world_);
  if (world_.rank() == world_.size() - 1) state.memory(1)[77] += 1.0F;
  EXPECT_THAT(save_checkpoint(run_, state.contents(), {}, world_),
              Optional(HasSubstr("rank " + std::to_string(world_.size() - 1) +
                                 " holds other adam_m of embedding.weight than its owner")));
  EXPECT_EQ(load(), -1);
}

// A limit that one rank's file runs into stands for whatever can go wrong on one node.
TEST_F(CheckpointTest, FailureOfOneRankIsReportedOnAllAndTheRunGoesOn) {
  ASSERT_EQ(save(10), std::nullopt);
  const int guilty = world_.size() - 1;
  rlimit unlimited{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
  if (world_.rank() == guilty) {
    const rlimit tiny{2000, unlimited.rlim_max};
    std::signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tiny), 0);
  }
  const auto failure = save(20);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
  EXPECT_THAT(failure,
              Optional(AllOf(HasSubstr("rank_0000" + std::to_string(guilty)), HasSubstr("File too large"))));
  if (world_.size() > 1) {
    EXPECT_THAT(*failure, HasSubstr("rank " + std::to_string(guilty) + ": "));
  }
  EXPECT_THAT(names(), ElementsAre("step_00000010"));
  EXPECT_EQ(load(), 10);
  EXPECT_EQ(save(20), std::nullopt);
  EXPECT_EQ(load(), 20);
}

TEST_F(CheckpointTest, FullDiskLeavesTheRunAbleToGoOn) {
  std::optional<SmallDisk> disk;
  on_disk([&] { disk.emplace(run_); });
  if (gather_numbers({disk && disk->is_mounted() ? 1UL : 0UL}, world_)[0] == 0)
    GTEST_SKIP() << "mounting a small file system is not permitted here";
  const auto fill = run_ / "filler";
  ASSERT_EQ(save(10), std::nullopt);
  // Leaves room, in turn, for nothing at all, for a folder, for a part of a file.
  for (const std::int64_t free_bytes : {0, 4096, 8192, 20000, 40000}) {
    on_disk([&] {
      std::filesystem::remove(fill);
      const auto available = static_cast<std::int64_t>(std::filesystem::space(run_).available);
      std::FILE* file = std::fopen(fill.c_str(), "w");
      const std::string bytes(static_cast<std::size_t>(available - free_bytes), 'x');
      EXPECT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
      std::fclose(file);
    });
    EXPECT_THAT(save(20), Optional(HasSubstr("No space left")));
    EXPECT_THAT(names(), ElementsAre("step_00000010"));
    EXPECT_EQ(load(), 10);
  }
  on_disk([&] { std::filesystem::remove(fill); });
  EXPECT_EQ(save(20), std::nullopt);
  EXPECT_EQ(load(), 20);
  on_disk([&] { disk.reset(); });
}

}  // namespace
}  // namespace trireme
