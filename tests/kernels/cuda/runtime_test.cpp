// Buffers, streams, events and copies of CUDA devices.
#include <cstdint>
#include <memory>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "kernels/buffer.h"
#include "kernels/cuda/stream_state.h"
#include "kernels/elementwise.h"
#include "kernels/reduce.h"
#include "kernels/stream.h"

namespace trireme {
namespace {

constexpr Device kGpu{DeviceType::kCuda, 0};
constexpr Device kSecondGpu{DeviceType::kCuda, 1};
constexpr std::int64_t kCount = 1000;
constexpr std::int64_t kBytes = kCount * 4;

Tensor ints(const Buffer& buffer) {
  return buffer.tensor(DType::kInt32, {buffer.size_bytes() / 4});
}
Tensor floats(const Buffer& buffer) {
  return buffer.tensor(DType::kFloat32, {buffer.size_bytes() / 4});
}

// Pinned memory that holds first, first + 1, ...
Buffer counting_from(std::int32_t first) {
  Buffer buffer = Buffer::pinned_for(kGpu, kBytes);
  auto* const values = static_cast<std::int32_t*>(buffer.data());
  std::iota(values, values + kCount, first);
  return buffer;
}

void expect_counts_from(std::int32_t first, const Buffer& buffer) {
  const auto* const values = static_cast<const std::int32_t*>(buffer.data());
  for (std::int32_t i = 0; i < kCount; ++i) ASSERT_EQ(values[i], first + i);
}

// The first number of a buffer of a device, once the stream has done its work.
float first_float(const Buffer& buffer, Stream stream) {
  float value = 0.0F;
  copy(Tensor(&value, DType::kFloat32, {1}), buffer.tensor(DType::kFloat32, {1}), stream);
  stream.synchronize();
  return value;
}

bool is_virtual_gpu() {
  cudaDeviceProp properties;
  return cudaGetDeviceProperties(&properties, 0) == cudaSuccess &&
         std::string_view(properties.name).starts_with("virtual");
}

TEST(Runtime, BytesComeBackByWayOfTheDevice) {
  ASSERT_GT(num_devices(DeviceType::kCuda), 0);
  const DeviceStream stream(kGpu);
  const Buffer from = counting_from(7);
  const Buffer to = Buffer::pinned_for(kGpu, kBytes);
  const Buffer there(kBytes, kGpu);
  const Buffer there_too(kBytes, kGpu);
  copy(ints(there), ints(from), stream);
  copy(ints(there_too), ints(there), stream);
  copy(ints(to), ints(there_too), stream);
  Stream(stream).synchronize();
  expect_counts_from(7, to);
}

TEST(Runtime, AStreamWaitsForAnothersEvent) {
  const DeviceStream first(kGpu), second(kGpu);
  const Buffer from = counting_from(1);
  const Buffer to = Buffer::pinned_for(kGpu, kBytes);
  Buffer there(kBytes, kGpu);
  there.zero();
  Event event(kGpu);
  copy(ints(there), ints(from), first);
  event.record(first);
  event.make_wait(second);
  copy(ints(to), ints(there), second);
  Event done(kGpu);
  done.record(second);
  done.synchronize();
  EXPECT_TRUE(done.is_reached());
  EXPECT_TRUE(event.is_reached());
  expect_counts_from(1, to);
}

// What a step does with one event for each of its buffers: each wait is for the last record before it.
TEST(Runtime, AnEventIsRecordedAgain) {
  const DeviceStream producer(kGpu), consumer(kGpu);
  Event filled(kGpu), emptied(kGpu);
  EXPECT_TRUE(filled.is_reached()) << "an event that nobody recorded is nothing to wait for";
  emptied.make_wait(producer);
  const Buffer there(kBytes, kGpu);
  std::vector<Buffer> from, to;
  for (int round = 0; round < 4; ++round) {
    from.push_back(counting_from(100 * round));
    to.push_back(Buffer::pinned_for(kGpu, kBytes));
    emptied.make_wait(producer);
    copy(ints(there), ints(from.back()), producer);
    filled.record(producer);
    filled.make_wait(consumer);
    copy(ints(to.back()), ints(there), consumer);
    emptied.record(consumer);
  }
  emptied.synchronize();
  for (int round = 0; round < 4; ++round)
    expect_counts_from(100 * round, to[static_cast<std::size_t>(round)]);
}

// To ask is no error that a later call would be blamed for.
TEST(Runtime, AskingWhetherAnEventIsReachedHarmsNothing) {
  const DeviceStream stream(kGpu);
  const Buffer x(kBytes, kGpu);
  Event event(kGpu);
  fill(floats(x), 1.0F, stream);
  event.record(stream);
  while (!event.is_reached()) {
  }
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  fill(floats(x), 2.0F, stream);
  EXPECT_EQ(first_float(x, stream), 2.0F);
}

TEST(Runtime, AStreamsEndWaitsForItsWork) {
  const Buffer from = counting_from(5);
  const Buffer there(kBytes, kGpu);
  const Buffer to = Buffer::pinned_for(kGpu, kBytes);
  {
    const DeviceStream stream(kGpu);
    copy(ints(there), ints(from), stream);
    copy(ints(to), ints(there), stream);
  }
  expect_counts_from(5, to);
}

TEST(Runtime, ZeroIsDoneWhenItReturns) {
  const DeviceStream stream(kGpu);
  Buffer x(kBytes, kGpu);
  x.zero();
  EXPECT_EQ(first_float(x, stream), 0.0F);
  fill(floats(x), 3.0F, stream);
  Stream(stream).synchronize();
  x.zero();
  EXPECT_EQ(first_float(x, stream), 0.0F);
  Buffer(0, kGpu).zero();
}

TEST(Runtime, BuffersMove) {
  const DeviceStream stream(kGpu);
  Buffer x(kBytes, kGpu);
  void* const data = x.data();
  Buffer y = std::move(x);
  EXPECT_EQ(y.data(), data);
  EXPECT_EQ(y.device(), kGpu);
  fill(floats(y), 4.0F, stream);
  EXPECT_EQ(first_float(y, stream), 4.0F);
  y = Buffer::pinned_for(kGpu, 8);
  EXPECT_EQ(y.device(), Device());
  static_cast<float*>(y.data())[1] = 1.0F;
  y = Buffer(16, kGpu);
  EXPECT_EQ(y.size_bytes(), 16);
}

// Ops keep intermediate results in memory of their stream.
TEST(Runtime, StreamsDoNotShareScratch) {
  const DeviceStream first(kGpu), second(kGpu);
  const Buffer x(400000, kGpu), result(8, kGpu);
  fill(floats(x), 1.0F, first);
  fill(floats(result), 0.0F, first);
  Event filled(kGpu);
  filled.record(first);
  filled.make_wait(second);
  const Tensor of_first = floats(result).slice(0, 0, 1), of_second = floats(result).slice(0, 1, 2);
  for (const std::int64_t n : {10, 1000, 100000, 1000}) {
    accumulate_sum_of_squares(of_first, floats(x).slice(0, 0, n), first);
    accumulate_sum_of_squares(of_second, floats(x).slice(0, 0, n), second);
  }
  float sums[2] = {};
  copy(Tensor(&sums[0], DType::kFloat32, {1}), of_first, first);
  copy(Tensor(&sums[1], DType::kFloat32, {1}), of_second, second);
  Stream(first).synchronize();
  Stream(second).synchronize();
  EXPECT_EQ(sums[0], 102010.0F);
  EXPECT_EQ(sums[1], 102010.0F);
}

TEST(Runtime, TwoDevicesWorkSideBySide) {
  if (num_devices(DeviceType::kCuda) < 2) GTEST_SKIP() << "one device";
  const DeviceStream first(kGpu), second(kSecondGpu);
  const Buffer x(kBytes, kGpu), y(kBytes, kSecondGpu);
  const Buffer between = Buffer::pinned_for(kSecondGpu, kBytes);
  Event sent(kGpu);
  fill(floats(x), 1.5F, first);
  fill(floats(y), -1.0F, second);
  copy(floats(between), floats(x), first);
  sent.record(first);
  sent.make_wait(second);
  copy(floats(y), floats(between), second);
  fill(floats(x), 2.5F, first);
  EXPECT_EQ(first_float(y, second), 1.5F);
  EXPECT_EQ(first_float(x, first), 2.5F);
}

TEST(RuntimeDeathTest, SaysWhichDeviceThereIsNot) {
  EXPECT_DEATH(DeviceStream({DeviceType::kCuda, 99}), "cuda:99 of");
}

TEST(RuntimeDeathTest, AnErrorOfCudaIsNamedWithItsCall) {
  EXPECT_DEATH(cuda::make_current({DeviceType::kCuda, 99}),
               "runtime.cpp:[0-9]+: cudaSetDevice.device.index.: .*cudaErrorInvalidDevice");
}

TEST(RuntimeDeathTest, SaysHowMuchPinnedMemoryThereIsNot) {
  EXPECT_DEATH(Buffer::pinned_for(kGpu, std::int64_t{1} << 50),
               "out of memory: 1125899906842624 bytes .1073741824 MiB. of pinned memory were asked for");
}

TEST(RuntimeDeathTest, OperandsLieOnTheStreamsDevice) {
  const DeviceStream stream(kGpu);
  const Buffer here(64);
  EXPECT_DEATH(fill(floats(here), 0.0F, stream), "fill on cuda:0: x is in the memory of cpu");
  if (num_devices(DeviceType::kCuda) < 2) return;
  const Buffer there(64, kSecondGpu);
  EXPECT_DEATH(fill(floats(there), 0.0F, stream), "fill on cuda:0: x is in the memory of cuda:1");
  EXPECT_DEATH(copy(floats(there), floats(here), stream), "copy: memory of cuda:1 by a stream of cuda:0");
}

// That the tests above would find what they are for: a wait that is left out.
TEST(RuntimeDeathTest, AMissingEventIsFound) {
  if (!is_virtual_gpu()) GTEST_SKIP() << "a GPU doesn't tell";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto forgetful = [] {
    const DeviceStream first(kGpu), second(kGpu);
    const Buffer x(kBytes, kGpu), to = Buffer::pinned_for(kGpu, kBytes);
    fill(floats(x), 1.0F, first);
    copy(floats(to), floats(x), second);
    Stream(second).synchronize();
  };
  EXPECT_EXIT(forgetful(), testing::ExitedWithCode(97), "vgpu: (missing-event|uninitialised-global)");
}

}  // namespace
}  // namespace trireme
