// Whole jobs that save, are killed and go on; and jobs of other sizes.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/durable_file.h"
#include "parallel/self_communicator.h"
#include "tests/support/temp_dir.h"
#include "tests/trainer/checkpoint/small_state.h"
#include "trainer/checkpoint/folders.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/rank_file.h"

namespace trireme {
namespace {

// A saving_run in its own process, and what it prints.
class SavingRun {
 public:
  explicit SavingRun(const std::filesystem::path& run) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(1);
      close(ends[0]);
      close(ends[1]);
      execl(TRIREME_SAVING_RUN, TRIREME_SAVING_RUN, run.c_str(), "loop", nullptr);
      _exit(1);
    }
    close(ends[1]);
    output_ = fdopen(ends[0], "r");
  }
  ~SavingRun() {
    if (pid_ > 0) kill_now();
    std::fclose(output_);
  }
  SavingRun(const SavingRun&) = delete;
  SavingRun& operator=(const SavingRun&) = delete;

  // The next step that it says is saved; -1 at the end.
  std::int64_t next_saved() {
    long long step = -1;
    return std::fscanf(output_, "%lld", &step) == 1 ? step : -1;
  }
  // Returns the last step that it said was saved, or `otherwise`.
  std::int64_t kill_now(std::int64_t otherwise = -1) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
    std::int64_t last = otherwise;
    for (std::int64_t step = next_saved(); step >= 0; step = next_saved()) last = step;
    return last;
  }

 private:
  pid_t pid_ = -1;
  std::FILE* output_ = nullptr;
};

// Loads the newest and compares every bit; its step.
std::int64_t load(const std::filesystem::path& run) {
  SelfCommunicator alone;
  SmallState state(0, alone);
  state.forget();
  if (!load_newest_checkpoint(run, state.contents(), alone)) return 0;
  EXPECT_TRUE(state.is_of_step(state.contents().state.step));
  return state.contents().state.step;
}

int count_leftovers(const std::filesystem::path& run) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(run / "checkpoints"))
    count += is_temporary_name(entry.path()) ? 1 : 0;
  return count;
}

void expect_all_whole(const std::filesystem::path& run) {
  for (const auto& folder : find_checkpoints(run))
    EXPECT_NO_THROW(check_every_byte(folder, read_manifest(folder)));
}

TEST(CheckpointProcessTest, KilledAtRandomMomentsNoSavedStepIsLost) {
  TempDir run;
  std::mt19937 random(2);
  int num_interrupted = 0;
  std::int64_t last_saved = 0;
  for (int i = 0; i < 40; ++i) {
    SavingRun job(run.path());
    const std::int64_t first = job.next_saved();
    ASSERT_GT(first, last_saved);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20000));
    last_saved = job.kill_now(first);
    num_interrupted += count_leftovers(run.path()) > 0 ? 1 : 0;
    ASSERT_GE(load(run.path()), last_saved);
  }
  EXPECT_GT(num_interrupted, 0) << "no kill came while something was being written: the test tests nothing";
  expect_all_whole(run.path());
}

TEST(CheckpointProcessTest, RankKilledAtRandomMomentsLeavesACheckpoint) {
  TempDir run;
  std::mt19937 random(3);
  std::int64_t newest = 0;
  for (int i = 0; i < 4; ++i) {
    const std::string command = std::string("timeout 60 " TRIREME_MPIRUN " 2 " TRIREME_SAVING_RUN " ") +
                                run.path().string() + " loop " + std::to_string(1 + random() % 100) +
                                " > /dev/null 2>&1";
    const int status = std::system(command.c_str());
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 137);
    const std::int64_t step = load(run.path());
    EXPECT_GT(step, newest);
    newest = step;
  }
  expect_all_whole(run.path());
}

TEST(CheckpointProcessTest, TwoJobsOnOneRunDamageNothing) {
  TempDir run;
  for (int i = 0; i < 5; ++i) {
    SavingRun one(run.path());
    one.next_saved();
    SavingRun other(run.path());  // cleans, while the first one saves
    other.next_saved();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    one.kill_now();
    other.kill_now();
    EXPECT_GT(load(run.path()), 0);
    expect_all_whole(run.path());
  }
}

TEST(CheckpointProcessTest, AnyNumberOfRanksLoadsWhatAnyOtherSaved) {
  const auto start = [](int ranks, const std::string& arguments) {
    const std::string command = std::string("timeout 60 " TRIREME_MPIRUN " ") + std::to_string(ranks) +
                                " " TRIREME_SAVING_RUN " " + arguments;
    return std::system(command.c_str());
  };
  for (int savers = 1; savers <= 4; ++savers) {
    TempDir run;
    ASSERT_EQ(start(savers, run.path().string() + " save 10"), 0);
    for (int loaders = 1; loaders <= 4; ++loaders)
      EXPECT_EQ(start(loaders, run.path().string() + " check 10"), 0)
          << savers << " to " << loaders << " ranks";
  }
}

}  // namespace
}  // namespace trireme
