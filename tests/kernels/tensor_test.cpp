// Shape, Tensor, Buffer and Arena.
#include "kernels/tensor.h"

#include <numeric>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/arena.h"
#include "kernels/buffer.h"

namespace trireme {
namespace {

TEST(Shape, Basics) {
  const Shape shape = {2, 3, 4};
  EXPECT_EQ(shape.num_elements(), 24);
  EXPECT_EQ(shape.to_string(), "[2, 3, 4]");
  EXPECT_EQ(shape.insert(1, 7), (Shape{2, 7, 3, 4}));
  EXPECT_EQ(shape.insert(3, 7), (Shape{2, 3, 4, 7}));
  EXPECT_EQ(shape.erase(1), (Shape{2, 4}));
  EXPECT_EQ(Shape().num_elements(), 1);
  EXPECT_EQ((Shape{5, 0}).num_elements(), 0);
}

TEST(Tensor, SlicesSplitsAndViews) {
  std::vector<float> values(2 * 3 * 8);
  std::iota(values.begin(), values.end(), 0.0F);
  const Tensor x(values.data(), DType::kFloat32, {2, 3, 8});
  EXPECT_TRUE(x.is_contiguous());
  EXPECT_EQ(x.stride(0), 24);
  EXPECT_EQ(x.view({6, 8}).dim(0), 6);

  const Tensor middle = x.slice(2, 4, 8);
  EXPECT_FALSE(middle.is_contiguous());
  EXPECT_EQ(middle.data<float>()[0], 4.0F);
  EXPECT_EQ(middle.stride(1), 8);

  const Tensor row = x.slice(1, 2, 3).squeeze(1);  // [2, 8]
  EXPECT_EQ(row.shape(), (Shape{2, 8}));
  EXPECT_EQ(row.stride(0), 24);
  EXPECT_EQ(row.data<float>()[row.stride(0)], 24.0F + 16.0F);

  EXPECT_TRUE(x.slice(0, 1, 2).is_contiguous());
  EXPECT_TRUE(x.slice(1, 0, 1).slice(0, 0, 1).is_contiguous()) << "strides of single rows mean nothing";
}

TEST(Tensor, EmptyMeansAbsent) {
  EXPECT_FALSE(Tensor());
  float x = 0.0F;
  EXPECT_TRUE(Tensor(&x, DType::kFloat32, {1}));
}

TEST(TensorDeathTest, MisuseDies) {
  std::vector<float> values(12);
  const Tensor x(values.data(), DType::kFloat32, {3, 4});
  EXPECT_DEATH(x.data<std::int32_t>(), "float32 read as int32");
  EXPECT_DEATH(x.view({5}), "viewed as");
  EXPECT_DEATH(x.slice(0, 1, 4), "of dimension 0");
  EXPECT_DEATH(x.slice(1, 0, 2).view({6}), "contiguous");
  EXPECT_DEATH(x.squeeze(0), "dimension 0");
}

TEST(Buffer, IsAlignedAndMoves) {
  Buffer small(100);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(small.data()) % 64, 0U);
  Buffer large((std::int64_t{5} << 20) + 3);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large.data()) % (2U << 20), 0U);
  large.zero();
  EXPECT_EQ(static_cast<char*>(large.data())[large.size_bytes() - 1], 0);

  void* const data = large.data();
  Buffer taken = std::move(large);
  EXPECT_EQ(taken.data(), data);
  EXPECT_EQ(large.data(), nullptr);
  EXPECT_EQ(large.size_bytes(), 0);
  taken = std::move(small);
  EXPECT_EQ(taken.size_bytes(), 100);
  EXPECT_EQ(Buffer().size_bytes(), 0);
}

TEST(BufferDeathTest, TensorsStayInside) {
  const Buffer buffer(64);
  EXPECT_EQ(buffer.tensor(DType::kFloat32, {12}, 16).num_elements(), 12);
  EXPECT_DEATH(buffer.tensor(DType::kFloat32, {13}, 16), "of a buffer of 64");
}

// Where memory can be refused, a request for more than there is says how much that was.
TEST(BufferDeathTest, OutOfMemoryNamesTheSize) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers end the process themselves";
#endif
  EXPECT_DEATH(Buffer(std::int64_t{1} << 50), "out of memory: 1125899906842624 bytes");
}

TEST(Arena, MeasuresThenHandsOut) {
  const auto plan = [](Arena& arena) {
    std::vector<Tensor> tensors = {arena.allocate(DType::kFloat32, {3, 5})};
    const std::int64_t mark = arena.mark();
    tensors.push_back(arena.allocate(DType::kFloat32, {1000}));
    arena.release(mark);
    tensors.push_back(arena.allocate(DType::kInt32, {7}));
    return tensors;
  };
  Arena measure = Arena::measuring();
  for (const Tensor& x : plan(measure)) EXPECT_FALSE(x);
  EXPECT_EQ(measure.size_bytes(), 64 + 4032);

  Arena arena(measure.size_bytes());
  const std::vector<Tensor> tensors = plan(arena);
  EXPECT_EQ(tensors[1].raw_data(), tensors[2].raw_data()) << "scratch is shared after release";
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensors[1].raw_data()) % 64, 0U);
  EXPECT_EQ(tensors[0].shape(), (Shape{3, 5}));
  EXPECT_EQ(tensors[2].dtype(), DType::kInt32);
}

TEST(ArenaDeathTest, HoldsWhatWasMeasured) {
  Arena arena(128);
  arena.allocate(DType::kFloat32, {16});
  EXPECT_DEATH(arena.allocate(DType::kFloat32, {17}), "measured for less");
}

}  // namespace
}  // namespace trireme
