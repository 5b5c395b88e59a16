// Buffers, streams, events and copies of a CUDA device.
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/buffer.h"
#include "kernels/elementwise.h"
#include "kernels/stream.h"

namespace trireme {
namespace {

constexpr Device kGpu{DeviceType::kCuda, 0};

TEST(Runtime, BytesComeBackByWayOfTheDevice) {
  ASSERT_GT(num_devices(DeviceType::kCuda), 0);
  const DeviceStream stream(kGpu);
  const Buffer from = Buffer::pinned_for(kGpu, 4000);
  const Buffer to = Buffer::pinned_for(kGpu, 4000);
  const Buffer there(4000, kGpu);
  const Shape shape = {1000};
  for (int i = 0; i < 1000; ++i) static_cast<std::int32_t*>(from.data())[i] = i;
  copy(there.tensor(DType::kInt32, shape), from.tensor(DType::kInt32, shape), stream);
  copy(to.tensor(DType::kInt32, shape), there.tensor(DType::kInt32, shape), stream);
  Stream(stream).synchronize();
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(static_cast<std::int32_t*>(to.data())[i], i);
}

TEST(Runtime, AStreamWaitsForAnothersEvent) {
  const DeviceStream first(kGpu), second(kGpu);
  const Buffer from = Buffer::pinned_for(kGpu, 400);
  const Buffer to = Buffer::pinned_for(kGpu, 400);
  Buffer there(400, kGpu);
  there.zero();
  for (int i = 0; i < 100; ++i) static_cast<std::int32_t*>(from.data())[i] = i + 1;
  Event event(kGpu);
  copy(there.tensor(DType::kInt32, {100}), from.tensor(DType::kInt32, {100}), first);
  event.record(first);
  event.make_wait(second);
  copy(to.tensor(DType::kInt32, {100}), there.tensor(DType::kInt32, {100}), second);
  Event done(kGpu);
  done.record(second);
  done.synchronize();
  EXPECT_TRUE(done.is_reached());
  EXPECT_TRUE(event.is_reached());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(static_cast<std::int32_t*>(to.data())[i], i + 1);
}

TEST(RuntimeDeathTest, SaysWhichDeviceThereIsNot) {
  EXPECT_DEATH(DeviceStream({DeviceType::kCuda, 99}), "cuda:99 of");
}

}  // namespace
}  // namespace trireme
