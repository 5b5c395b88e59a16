// PagedBuffer on CUDA devices: memory that comes and goes in the order of streams.
#include "kernels/paged_buffer.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "kernels/buffer.h"
#include "kernels/elementwise.h"
#include "kernels/stream.h"

namespace trireme {
namespace {

constexpr Device kGpu{DeviceType::kCuda, 0};

std::int64_t taken_bytes(Device device) {
  cudaSetDevice(device.index);
  std::size_t free = 0;
  std::size_t total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  return static_cast<std::int64_t>(total - free);
}

// What a device has given to anybody since then.  A driver takes memory for reasons of its own, the virtual
// GPU doesn't: so this is exact there, and not checked elsewhere.
class Taken {
 public:
  explicit Taken(Device device = kGpu) : device_(device), before_(taken_bytes(device)) {}

  void expect(std::int64_t bytes) const {
    cudaDeviceProp properties;
    ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    if (!std::string_view(properties.name).starts_with("virtual")) return;
    EXPECT_EQ(taken_bytes(device_) - before_, bytes);
  }

 private:
  Device device_;
  std::int64_t before_;
};

class CudaPagedBuffer : public ::testing::Test {
 protected:
  static constexpr std::int64_t kPages = 8;

  std::int64_t page() const { return PagedBuffer::page_bytes(kGpu); }
  void acquire(PagedBuffer& buffer, std::int64_t begin, std::int64_t end, Stream stream,
               Contents contents = Contents::kZeros) const {
    buffer.acquire(begin * page(), end * page(), contents, stream);
  }
  void release(PagedBuffer& buffer, std::int64_t begin, std::int64_t end, Stream stream) const {
    buffer.release(begin * page(), end * page(), stream);
  }
  Tensor pages(const PagedBuffer& buffer, std::int64_t begin, std::int64_t end) const {
    return buffer.tensor(DType::kFloat32, {(end - begin) * page() / 4}, begin * page());
  }
  void write(const PagedBuffer& buffer, std::int64_t begin, std::int64_t end, float value,
             Stream stream) const {
    fill(pages(buffer, begin, end), value, stream);
  }
  // Whether a page holds nothing but this; known once the stream is done.
  class Seen {
   public:
    Seen(Tensor from, Stream stream)
        : host_(Buffer::pinned_for(stream.device(), from.num_elements() * 4)), count_(from.num_elements()) {
      copy(host_.tensor(DType::kFloat32, {count_}), from, stream);
    }
    bool is_all(float value) const {
      const float* const values = static_cast<const float*>(host_.data());
      return std::all_of(values, values + count_, [&](float x) { return x == value; });
    }

   private:
    Buffer host_;
    std::int64_t count_;
  };
  Seen see(const PagedBuffer& buffer, std::int64_t begin, std::int64_t end, Stream stream) const {
    return {pages(buffer, begin, end), stream};
  }

  DeviceStream stream_{kGpu};
  DeviceStream other_{kGpu};
  PagedBuffer buffer_{kPages * page(), Pages::kSmall, kGpu};
};

TEST_F(CudaPagedBuffer, TakesWhatIsAcquiredAndGivesItBack) {
  const Taken taken;
  EXPECT_EQ(buffer_.resident_bytes(), 0);
  // In the middle of pages, which come whole.
  buffer_.acquire(page() / 2, 3 * page() + 4, Contents::kZeros, stream_);
  EXPECT_EQ(buffer_.resident_bytes(), 4 * page());
  taken.expect(4 * page());
  const Seen zeros = see(buffer_, 0, 4, stream_);
  write(buffer_, 0, 4, 3.0F, stream_);
  release(buffer_, 1, 3, stream_);
  EXPECT_EQ(buffer_.resident_bytes(), 2 * page());
  EXPECT_EQ(PagedBuffer::pooled_bytes(kGpu), 2 * page());
  const Seen left = see(buffer_, 0, 1, stream_);
  acquire(buffer_, 0, 6, stream_);
  EXPECT_EQ(buffer_.resident_bytes(), 6 * page());
  taken.expect(6 * page());
  const Seen first = see(buffer_, 0, 1, stream_);
  const Seen again = see(buffer_, 1, 3, stream_);
  const Seen last = see(buffer_, 3, 4, stream_);
  const Seen fresh = see(buffer_, 4, 6, stream_);
  static_cast<Stream>(stream_).synchronize();
  EXPECT_TRUE(zeros.is_all(0.0F));
  EXPECT_TRUE(left.is_all(3.0F) && first.is_all(3.0F) && last.is_all(3.0F));
  EXPECT_TRUE(again.is_all(0.0F) && fresh.is_all(0.0F));
}

// As layers do whose values come one after the other: two pages serve for eight.
TEST_F(CudaPagedBuffer, AStreamTakesAtOnceWhatItGaveBack) {
  const Taken taken;
  std::vector<Seen> seen;
  acquire(buffer_, 0, 1, stream_, Contents::kUndefined);
  for (std::int64_t i = 0; i < kPages; ++i) {
    if (i + 1 < kPages) acquire(buffer_, i + 1, i + 2, stream_, Contents::kUndefined);
    write(buffer_, i, i + 1, static_cast<float>(i), stream_);
    seen.push_back(see(buffer_, i, i + 1, stream_));
    release(buffer_, i, i + 1, stream_);
  }
  taken.expect(2 * page());
  // And back again: what was just released lies where it was, the rest has served elsewhere.
  for (std::int64_t i = kPages; i-- > 0;) {
    acquire(buffer_, i, i + 1, stream_);
    seen.push_back(see(buffer_, i, i + 1, stream_));
    write(buffer_, i, i + 1, -1.0F, stream_);
    release(buffer_, i, i + 1, stream_);
  }
  taken.expect(2 * page());
  static_cast<Stream>(stream_).synchronize();
  for (std::size_t i = 0; i < kPages; ++i) {
    EXPECT_TRUE(seen[i].is_all(static_cast<float>(i))) << i;
    EXPECT_TRUE(seen[kPages + i].is_all(0.0F)) << i;
  }
}

TEST_F(CudaPagedBuffer, MemoryThatServesElsewhereIsNotTakenBack) {
  acquire(buffer_, 0, 2, stream_);
  write(buffer_, 0, 2, 1.0F, stream_);
  release(buffer_, 0, 2, stream_);
  acquire(buffer_, 4, 6, stream_);
  write(buffer_, 4, 6, 2.0F, stream_);
  acquire(buffer_, 0, 2, stream_);
  write(buffer_, 0, 2, 3.0F, stream_);
  const Seen low = see(buffer_, 0, 2, stream_);
  const Seen high = see(buffer_, 4, 6, stream_);
  EXPECT_EQ(buffer_.resident_bytes(), 4 * page());
  static_cast<Stream>(stream_).synchronize();
  EXPECT_TRUE(low.is_all(3.0F));
  EXPECT_TRUE(high.is_all(2.0F));
}

// Nothing but the pool keeps streams apart: an event too few is found by the virtual GPU.
TEST_F(CudaPagedBuffer, AnotherStreamTakesWhatIsDone) {
  const Taken taken;
  PagedBuffer second(kPages * page(), Pages::kSmall, kGpu);
  acquire(buffer_, 0, 2, stream_);
  write(buffer_, 0, 2, 1.0F, stream_);
  release(buffer_, 0, 2, stream_);
  acquire(second, 0, 2, other_);
  write(second, 0, 2, 2.0F, other_);
  const Seen seen = see(second, 0, 2, other_);
  static_cast<Stream>(stream_).synchronize();
  acquire(second, 2, 4, other_);  // what the first stream is done with, if it wasn't taken before
  write(second, 2, 4, 3.0F, other_);
  static_cast<Stream>(other_).synchronize();
  EXPECT_TRUE(seen.is_all(2.0F));
  taken.expect(4 * page());
}

TEST_F(CudaPagedBuffer, AnotherStreamTakesBackWithAWait) {
  acquire(buffer_, 0, 2, stream_);
  write(buffer_, 0, 2, 1.0F, stream_);
  const Seen old = see(buffer_, 0, 2, stream_);
  release(buffer_, 0, 2, stream_);
  acquire(buffer_, 0, 3, other_);
  const Seen fresh = see(buffer_, 0, 3, other_);
  write(buffer_, 0, 3, 2.0F, other_);
  static_cast<Stream>(other_).synchronize();
  static_cast<Stream>(stream_).synchronize();
  EXPECT_TRUE(old.is_all(1.0F));
  EXPECT_TRUE(fresh.is_all(0.0F));
}

TEST_F(CudaPagedBuffer, WithoutAStreamTheHostWaits) {
  buffer_.acquire(0, 2 * page(), Contents::kZeros);
  write(buffer_, 0, 2, 1.0F, stream_);
  buffer_.release(0, page());
  acquire(buffer_, 4, 5, other_);
  write(buffer_, 4, 5, 1.0F, other_);
  release(buffer_, 4, 5, other_);
  buffer_.acquire(4 * page(), 5 * page(), Contents::kZeros);
  const Seen seen = see(buffer_, 4, 5, stream_);
  static_cast<Stream>(stream_).synchronize();
  EXPECT_TRUE(seen.is_all(0.0F));
}

TEST_F(CudaPagedBuffer, TrimGivesToTheDeviceWhatNobodyNeeded) {
  const Taken taken;
  acquire(buffer_, 0, 6, stream_);
  release(buffer_, 0, 6, stream_);
  static_cast<Stream>(stream_).synchronize();
  PagedBuffer::trim(kGpu);  // all were needed
  for (int step = 0; step < 2; ++step) {
    acquire(buffer_, 6, 8, stream_);
    release(buffer_, 6, 8, stream_);
    static_cast<Stream>(stream_).synchronize();
    PagedBuffer::trim(kGpu);
    taken.expect(2 * page());
    EXPECT_EQ(PagedBuffer::pooled_bytes(kGpu), 2 * page());
  }
}

TEST_F(CudaPagedBuffer, TheLastOneLeavesNothing) {
  const Taken taken;
  {
    PagedBuffer moved(2 * page(), Pages::kSmall, kGpu);
    acquire(moved, 0, 2, stream_);
    write(moved, 0, 2, 4.0F, stream_);
    acquire(buffer_, 0, 1, stream_);
    static_cast<Stream>(stream_).synchronize();
    buffer_ = std::move(moved);
    const Seen seen = see(buffer_, 0, 2, stream_);
    static_cast<Stream>(stream_).synchronize();
    EXPECT_TRUE(seen.is_all(4.0F));
    EXPECT_EQ(buffer_.resident_bytes(), 2 * page());
  }
  buffer_ = {};
  EXPECT_EQ(PagedBuffer::pooled_bytes(kGpu), 0);
  taken.expect(0);
}

TEST_F(CudaPagedBuffer, LargePagesAreThereFromTheStart) {
  PagedBuffer large(1000, Pages::kLarge, kGpu);
  EXPECT_EQ(large.resident_bytes(), 1000);
  large.acquire(0, 1000, Contents::kZeros, stream_);
  const Seen seen(large.tensor(DType::kFloat32, {250}), stream_);
  static_cast<Stream>(stream_).synchronize();
  EXPECT_TRUE(seen.is_all(0.0F));
}

TEST_F(CudaPagedBuffer, DevicesHavePoolsOfTheirOwn) {
  if (num_devices(DeviceType::kCuda) < 2) GTEST_SKIP() << "needs two devices";
  const Device second{DeviceType::kCuda, 1};
  DeviceStream there(second);
  const Taken taken(second);
  acquire(buffer_, 0, 2, stream_);
  release(buffer_, 0, 2, stream_);
  static_cast<Stream>(stream_).synchronize();
  PagedBuffer buffer(4 * page(), Pages::kSmall, second);
  buffer.acquire(0, 3 * page(), Contents::kZeros, there);
  taken.expect(3 * page());
  EXPECT_EQ(PagedBuffer::pooled_bytes(kGpu), 2 * page());
  const Seen seen(buffer.tensor(DType::kFloat32, {3 * page() / 4}), there);
  static_cast<Stream>(there).synchronize();
  EXPECT_TRUE(seen.is_all(0.0F));
}

using CudaPagedBufferDeathTest = CudaPagedBuffer;

TEST_F(CudaPagedBufferDeathTest, WaitsForOtherStreamsBeforeItRunsOut) {
  std::size_t free = 0;
  std::size_t total = 0;
  ASSERT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  if (total > 64 << 20) GTEST_SKIP() << "needs a device with little memory";
  const std::int64_t all = static_cast<std::int64_t>(free) / page();
  PagedBuffer first(all * page(), Pages::kSmall, kGpu);
  PagedBuffer second((all + 1) * page(), Pages::kSmall, kGpu);
  acquire(first, 0, all, stream_);
  write(first, 0, all, 1.0F, stream_);
  release(first, 0, all - 1, stream_);
  acquire(second, 0, 2, other_);
  const Seen seen = see(second, 0, 2, other_);
  static_cast<Stream>(other_).synchronize();
  EXPECT_TRUE(seen.is_all(0.0F));
  EXPECT_DEATH(acquire(second, 2, all, other_), "out of memory on cuda:0");
}

TEST_F(CudaPagedBufferDeathTest, GivesBackWholePagesAlone) {
  EXPECT_DEATH(buffer_.release(0, page() / 2, stream_), "bytes 0 to");
  EXPECT_DEATH(buffer_.release(0, (kPages + 1) * page(), stream_), "bytes 0 to");
}

}  // namespace
}  // namespace trireme
