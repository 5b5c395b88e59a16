// A run's directory that all ranks of a test share.
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/ranks.h"
#include "tests/support/temp_dir.h"
#include "tests/trainer/checkpoint/small_state.h"
#include "trainer/checkpoint/agreement.h"
#include "trainer/checkpoint/folders.h"

namespace trireme {

class SharedRunTest : public testing::Test {
 protected:
  SharedRunTest() {
    if (leads_) folder_ = std::make_unique<TempDir>();
    run_ = broadcast_text(leads_ ? folder_->path().string() : "", 0, world_);
  }
  ~SharedRunTest() override { world_.barrier(); }  // before rank 0 removes the folder

  std::optional<std::string> save(std::int64_t step, const KeepPolicy& keep = {.last = 100}) {
    SmallState state(step, world_);
    return save_checkpoint(run_, state.contents(), keep, world_);
  }
  // Loads what there is and compares every bit; the step, or -1.
  std::int64_t load() {
    SmallState state(0, world_);
    state.forget();
    const auto folder = load_newest_checkpoint(run_, state.contents(), world_);
    if (!folder) return -1;
    const std::int64_t step = state.contents().state.step;
    EXPECT_EQ(*folder, checkpoint_folder(run_, step));
    EXPECT_TRUE(state.is_of_step(step));
    return step;
  }
  // Rank 0 does something to the files while the others wait.
  template <typename Action>
  void on_disk(const Action& action) {
    world_.barrier();
    if (leads_) action();
    world_.barrier();
  }
  // The names in RUN/checkpoints.
  std::vector<std::string> names() {
    world_.barrier();
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(run_ / "checkpoints"))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    world_.barrier();  // before one of them goes on to change what others still look at
    return names;
  }

  Communicator& world_ = test_process().world();
  const bool leads_ = world_.rank() == 0;
  std::unique_ptr<TempDir> folder_;
  std::filesystem::path run_;
};

}  // namespace trireme
