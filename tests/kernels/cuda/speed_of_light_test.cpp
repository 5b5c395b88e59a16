// The table of GPUs against what their chips can do by clock, and the measurement of those that it hasn't.
#include "kernels/speed_of_light.h"

#include <chrono>
#include <map>
#include <string>
#include <string_view>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "kernels/cuda/gpu_table.h"
#include "kernels/cuda/speed_of_light.h"

namespace trireme {
namespace {

constexpr Device kGpu{DeviceType::kCuda, 0};

// What a chip does per multiprocessor and clock by its architecture's white paper, and the highest clock of
// the product.
struct Chip {
  double tensor_flops;
  double plain_flops;
  double boost_ghz;
};

constexpr double kGa100Tensor = 2048, kGa100Plain = 128;
constexpr double kGraphics = 1024, kHalvedGraphics = 512, kGraphicsPlain = 256;
constexpr double kGh100Tensor = 4096, kGh100Plain = 256;
constexpr double kGb100Tensor = 8192, kGb100Plain = 256;

const std::map<std::string_view, Chip> kChips = {
    {"NVIDIA A100-SXM4-40GB", {kGa100Tensor, kGa100Plain, 1.41}},
    {"NVIDIA A100-SXM4-80GB", {kGa100Tensor, kGa100Plain, 1.41}},
    {"NVIDIA A100-PCIE-40GB", {kGa100Tensor, kGa100Plain, 1.41}},
    {"NVIDIA A100 80GB PCIe", {kGa100Tensor, kGa100Plain, 1.41}},
    {"NVIDIA A800-SXM4-40GB", {kGa100Tensor, kGa100Plain, 1.41}},
    {"NVIDIA A800-SXM4-80GB", {kGa100Tensor, kGa100Plain, 1.41}},
    {"NVIDIA A800 80GB PCIe", {kGa100Tensor, kGa100Plain, 1.41}},
    {"NVIDIA A30", {kGa100Tensor, kGa100Plain, 1.44}},
    {"NVIDIA A40", {kGraphics, kGraphicsPlain, 1.74}},
    {"NVIDIA A10", {kGraphics, kGraphicsPlain, 1.695}},
    {"NVIDIA RTX A6000", {kGraphics, kGraphicsPlain, 1.8}},
    {"NVIDIA GeForce RTX 3080", {kHalvedGraphics, kGraphicsPlain, 1.71}},
    {"NVIDIA GeForce RTX 3090", {kHalvedGraphics, kGraphicsPlain, 1.695}},
    {"NVIDIA GeForce RTX 3090 Ti", {kHalvedGraphics, kGraphicsPlain, 1.86}},
    {"NVIDIA L4", {kGraphics, kGraphicsPlain, 2.04}},
    {"NVIDIA L40", {kHalvedGraphics, kGraphicsPlain, 2.49}},
    {"NVIDIA L40S", {kGraphics, kGraphicsPlain, 2.52}},
    {"NVIDIA RTX 6000 Ada Generation", {kGraphics, kGraphicsPlain, 2.505}},
    {"NVIDIA GeForce RTX 4080", {kHalvedGraphics, kGraphicsPlain, 2.505}},
    {"NVIDIA GeForce RTX 4090", {kHalvedGraphics, kGraphicsPlain, 2.52}},
    {"NVIDIA H100 80GB HBM3", {kGh100Tensor, kGh100Plain, 1.98}},
    {"NVIDIA H100 PCIe", {kGh100Tensor, kGh100Plain, 1.755}},
    {"NVIDIA H100 NVL", {kGh100Tensor, kGh100Plain, 1.785}},
    {"NVIDIA H800", {kGh100Tensor, kGh100Plain, 1.98}},
    {"NVIDIA H800 PCIe", {kGh100Tensor, kGh100Plain, 1.755}},
    {"NVIDIA H200", {kGh100Tensor, kGh100Plain, 1.98}},
    {"NVIDIA H200 NVL", {kGh100Tensor, kGh100Plain, 1.785}},
    {"NVIDIA GH200 480GB", {kGh100Tensor, kGh100Plain, 1.98}},
    {"NVIDIA B200", {kGb100Tensor, kGb100Plain, 1.965}},
    {"NVIDIA GB200", {kGb100Tensor, kGb100Plain, 2.062}},
    {"NVIDIA GeForce RTX 5080", {kHalvedGraphics, kGraphicsPlain, 2.617}},
    {"NVIDIA GeForce RTX 5090", {kHalvedGraphics, kGraphicsPlain, 2.407}},
};

TEST(SpeedOfLight, TableIsWhatTheChipsCanDo) {
  EXPECT_EQ(cuda::known_gpus().size(), kChips.size());
  for (const cuda::KnownGpu& gpu : cuda::known_gpus()) {
    SCOPED_TRACE(gpu.name);
    const auto chip = kChips.find(gpu.name);
    ASSERT_NE(chip, kChips.end());
    const double clocks = gpu.num_multiprocessors * chip->second.boost_ghz * 1e-3;
    const double plain = clocks * chip->second.plain_flops;
    EXPECT_NEAR(gpu.float32_teraflops, plain, 0.015 * plain);
    // Tensor cores of Hopper and Blackwell don't keep the highest clock, and their sheets don't say so.
    const double tensor = clocks * chip->second.tensor_flops;
    const bool keeps_clock = chip->second.tensor_flops < kGh100Tensor;
    EXPECT_LE(gpu.bfloat16_teraflops, 1.005 * tensor);
    EXPECT_GE(gpu.bfloat16_teraflops, (keeps_clock ? 0.99 : 0.86) * tensor);
  }
}

TEST(SpeedOfLight, AnEntryNeedsTheWholeNameAndItsMultiprocessors) {
  using cuda::documented_flops;
  EXPECT_DOUBLE_EQ(documented_flops("NVIDIA H100 80GB HBM3", 132, DType::kBfloat16).value_or(0.0), 989.4e12);
  EXPECT_DOUBLE_EQ(documented_flops("NVIDIA H100 80GB HBM3", 132, DType::kFloat32).value_or(0.0), 66.9e12);
  EXPECT_DOUBLE_EQ(documented_flops("A100-SXM4-40GB", 108, DType::kBfloat16).value_or(0.0),
                   312e12);  // by an old driver
  EXPECT_FALSE(documented_flops("NVIDIA H100 80GB HBM3", 114, DType::kBfloat16));
  EXPECT_FALSE(documented_flops("NVIDIA A100-SXM-64GB", 124, DType::kBfloat16));
  EXPECT_FALSE(documented_flops("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 42, DType::kBfloat16));
  EXPECT_FALSE(documented_flops("NVIDIA GeForce RTX 4090 Laptop GPU", 76, DType::kBfloat16));
  EXPECT_FALSE(documented_flops("NVIDIA GeForce RTX 3080", 70, DType::kFloat32));  // the one with 12 GiB
  EXPECT_FALSE(documented_flops("", 132, DType::kBfloat16));
}

TEST(SpeedOfLight, IsTheTablesOrMeasuredOnceAndQuickly) {
  cudaDeviceProp properties;
  ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  for (const DType dtype : {DType::kBfloat16, DType::kFloat32}) {
    const auto start = std::chrono::steady_clock::now();
    const double peak = peak_flops(kGpu, dtype);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));  // of a busy machine
    EXPECT_GT(peak, 1e6);
    const auto documented = cuda::documented_flops(properties.name, properties.multiProcessorCount, dtype);
    EXPECT_EQ(peak, documented.value_or(peak));
    EXPECT_EQ(peak_flops(kGpu, dtype), peak);
  }
}

// A real GPU comes near to its data sheet and not above it; of the virtual one only that it is measured.
TEST(SpeedOfLight, MeasurementIsBelowTheTable) {
  cudaDeviceProp properties;
  ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  for (const DType dtype : {DType::kBfloat16, DType::kFloat32}) {
    const double measured = cuda::measured_flops(kGpu, dtype);
    EXPECT_GT(measured, 0.0);
    const auto documented = cuda::documented_flops(properties.name, properties.multiProcessorCount, dtype);
    if (!documented) continue;
    EXPECT_LT(measured, 1.1 * *documented);
    EXPECT_GT(measured, 0.4 * *documented);
  }
}

TEST(SpeedOfLight, DevicesHaveNames) {
  cudaDeviceProp properties;
  ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  EXPECT_EQ(device_words(kGpu), std::string(properties.name) + ", " +
                                    std::to_string(properties.multiProcessorCount) + " SMs, " +
                                    std::to_string(properties.totalGlobalMem >> 30) + " GiB");
  EXPECT_TRUE(device_words({}).ends_with(" of the CPU"));
}

}  // namespace
}  // namespace trireme
