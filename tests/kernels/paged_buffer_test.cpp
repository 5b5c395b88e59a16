#include "kernels/paged_buffer.h"

#include <utility>

#include <gtest/gtest.h>

namespace trireme {
namespace {

const std::int64_t kPage = PagedBuffer::page_bytes({});

TEST(PagedBuffer, TakesWhatIsWrittenAndGivesItBackAsZeros) {
  PagedBuffer buffer(64 * kPage, Pages::kSmall);
  EXPECT_EQ(buffer.resident_bytes(), 0);
  const Tensor all = buffer.tensor(DType::kFloat32, {64 * kPage / 4});
  float* const values = all.data<float>();
  for (std::int64_t i = 0; i < 16 * kPage / 4; ++i) values[i] = 1.0F;
  EXPECT_EQ(buffer.resident_bytes(), 16 * kPage);
  buffer.release(4 * kPage, 8 * kPage);
  EXPECT_EQ(buffer.resident_bytes(), 12 * kPage);
  EXPECT_EQ(values[4 * kPage / 4 - 1], 1.0F);
  EXPECT_EQ(values[4 * kPage / 4], 0.0F);
  EXPECT_EQ(values[8 * kPage / 4 - 1], 0.0F);
  EXPECT_EQ(values[8 * kPage / 4], 1.0F);
}

TEST(PagedBuffer, MovesWithItsMemory) {
  PagedBuffer first(kPage, Pages::kLarge);
  first.tensor(DType::kFloat32, {1}).data<float>()[0] = 3.0F;
  PagedBuffer second;
  second = std::move(first);
  EXPECT_EQ(second.tensor(DType::kFloat32, {1}).data<float>()[0], 3.0F);
  EXPECT_EQ(second.size_bytes(), kPage);
}

TEST(PagedBufferDeathTest, GivesBackWholePagesAlone) {
  PagedBuffer buffer(4 * kPage, Pages::kSmall);
  EXPECT_DEATH(buffer.release(0, kPage / 2), "bytes 0 to");
  EXPECT_DEATH(buffer.release(0, 5 * kPage), "bytes 0 to");
}

}  // namespace
}  // namespace trireme
