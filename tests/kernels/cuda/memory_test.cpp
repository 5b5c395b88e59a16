// What is said when a device has no memory left.
#include <cstdint>
#include <string>
#include <thread>
#include <utility>

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/buffer.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/memory_label.h"
#include "kernels/memory_ledger.h"

namespace trireme {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

constexpr Device kGpu{DeviceType::kCuda, 0};
constexpr std::int64_t kMib = 1 << 20;

Buffer labelled(const char* name, const char* remedy, std::int64_t size_bytes) {
  const MemoryLabel label(name, remedy);
  return Buffer(size_bytes, kGpu);
}

std::string words() {
  return out_of_memory_words(3 * kMib, kGpu, 10 * kMib, 100 * kMib);
}

TEST(MemoryLabel, ATableSaysWhoHasIt) {
  const Buffer weights = labelled("parameters", "share them", 2 * kMib);
  const Buffer first = labelled("activations", "lower the batch", 5 * kMib);
  const Buffer second = labelled("activations", "lower the batch", kMib / 2);
  const Buffer other(kMib, kGpu);
  const MemoryLabel label("moments", "share those");
  EXPECT_EQ(
      words(),
      "out of memory on cuda:0: 3145728 bytes (3.0 MiB) were asked for, for moments; of 100.0 MiB there "
      "are\n"
      "         5.5 MiB  activations\n"
      "         2.0 MiB  parameters\n"
      "         1.0 MiB  unnamed\n"
      "        81.5 MiB  of CUDA, libraries and other processes\n"
      "        10.0 MiB  free\n"
      "To need less:\n"
      "  moments: share those\n"
      "  activations: lower the batch\n"
      "  parameters: share them");
}

TEST(MemoryLabel, TheInnermostNamesItAndTheOuterOneHelps) {
  const MemoryLabel outer("model", "make it smaller");
  Buffer kept;
  {
    const MemoryLabel inner("gradients");
    kept = Buffer(kMib, kGpu);
  }
  const Buffer after(2 * kMib, kGpu);
  EXPECT_THAT(words(), HasSubstr(" 1.0 MiB  gradients\n"));
  EXPECT_THAT(words(), HasSubstr(" 2.0 MiB  model\n"));
  EXPECT_THAT(words(), HasSubstr("  model: make it smaller"));
  EXPECT_THAT(words(), Not(HasSubstr("gradients: ")));  // the same words twice help nobody
}

TEST(MemoryLabel, WhatIsGivenBackIsForgotten) {
  {
    const Buffer gone = labelled("gone", "", kMib);
    EXPECT_THAT(words(), HasSubstr("gone"));
  }
  EXPECT_THAT(words(), Not(HasSubstr("gone")));
  Buffer moved = labelled("moved", "", kMib);
  const Buffer here = std::move(moved);
  EXPECT_THAT(words(), HasSubstr(" 1.0 MiB  moved\n"));
}

TEST(MemoryLabel, IsOneThreadsOwn) {
  const MemoryLabel label("mine");
  Buffer theirs;
  std::thread([&] { theirs = Buffer(kMib, kGpu); }).join();
  EXPECT_THAT(words(), Not(HasSubstr("MiB  mine")));
}

TEST(MemoryLabel, StreamsWorkspaceIsInTheTable) {
  {
    const DeviceStream stream(kGpu);
    Buffer x(3 * 256, kGpu);
    x.zero();
    const auto matrix = [&](int i) { return x.tensor(DType::kFloat32, {8, 8}, i * 256); };
    matmul(matrix(0), matrix(1), matrix(2), {}, stream);
    EXPECT_THAT(words(), HasSubstr("32.0 MiB  workspace of ops\n"));
  }
  EXPECT_THAT(words(), Not(HasSubstr("workspace")));
}

TEST(MemoryLabelDeathTest, ADeviceThatIsFullEndsTheProgram) {
  std::size_t free = 0, total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  const Buffer weights = labelled("parameters", "share them", kMib);
  EXPECT_DEATH(
      labelled("activations", "lower the batch", static_cast<std::int64_t>(total)),
      ContainsRegex("out of memory on cuda:0: " + std::to_string(total) +
                    " bytes .[0-9.]+ MiB. were asked for, for activations; of [0-9.]+ MiB there are\n"
                    " +1.0 MiB  parameters\n +[0-9.]+ MiB  of CUDA, [a-z ]+\n +[0-9.]+ MiB  free\n"
                    "To need less:\n  activations: lower the batch\n  parameters: share them"));
}

}  // namespace
}  // namespace trireme
