// Kernels as a training program has them, against double precision.
#include <cmath>

#include "program.h"

// --- Sum of an array: shuffles, shared memory, and a last block that adds up the others' parts. ---

__device__ unsigned finished_blocks = 0;

__device__ float block_sum(float value) {
  __shared__ float parts[32];
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffff, value, offset);
  __syncthreads();  // parts may still be in use
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  const int num_warps = blockDim.x / 32;
  value = threadIdx.x < num_warps ? parts[threadIdx.x] : 0.0f;
  if (threadIdx.x < 32)
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffff, value, offset);
  return value;  // in thread 0
}

__global__ void sum(float* result, float* parts, const float* x, int n) {
  float value = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) value += x[i];
  value = block_sum(value);
  __shared__ bool last;
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = value;
    __threadfence();
    last = atomicAdd(&finished_blocks, 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  value = block_sum(threadIdx.x < gridDim.x ? parts[threadIdx.x] : 0.0f);
  if (threadIdx.x == 0) *result = value;
}

void test_sum() {
  constexpr int kSize = 100'003, kBlocks = 37;
  const std::vector<float> x = random_floats(kSize, 1);
  DeviceArray<float> d_x(x), parts(kBlocks), result(1);
  sum<<<kBlocks, 128>>>(result.get(), parts.get(), d_x.get(), kSize);
  double expected = 0;
  for (const float v : x) expected += v;
  EXPECT(std::fabs(result.to_host()[0] - expected) < 1e-2);
}

// --- LayerNorm, a block per row. ---

__global__ void layer_norm(float* y, const float* x, const float* weight, const float* bias, int width) {
  x += static_cast<size_t>(blockIdx.x) * width;
  y += static_cast<size_t>(blockIdx.x) * width;
  __shared__ float shared;
  float s = 0;
  for (int i = threadIdx.x; i < width; i += blockDim.x) s += x[i];
  s = block_sum(s);
  if (threadIdx.x == 0) shared = s / width;
  __syncthreads();
  const float mean = shared;
  float v = 0;
  for (int i = threadIdx.x; i < width; i += blockDim.x) v += (x[i] - mean) * (x[i] - mean);
  v = block_sum(v);
  __syncthreads();
  if (threadIdx.x == 0) shared = rsqrtf(v / width + 1e-5f);
  __syncthreads();
  for (int i = threadIdx.x; i < width; i += blockDim.x) y[i] = (x[i] - mean) * shared * weight[i] + bias[i];
}

void test_layer_norm() {
  constexpr int kRows = 5, kWidth = 391;
  const std::vector<float> x = random_floats(kRows * kWidth, 2, 3.0f);
  const std::vector<float> weight = random_floats(kWidth, 3), bias = random_floats(kWidth, 4);
  DeviceArray<float> d_x(x), d_weight(weight), d_bias(bias), d_y(kRows * kWidth);
  layer_norm<<<kRows, 96>>>(d_y.get(), d_x.get(), d_weight.get(), d_bias.get(), kWidth);
  const std::vector<float> y = d_y.to_host();
  for (int row = 0; row < kRows; ++row) {
    double mean = 0, variance = 0;
    for (int i = 0; i < kWidth; ++i) mean += x[row * kWidth + i] / double(kWidth);
    for (int i = 0; i < kWidth; ++i) variance += std::pow(x[row * kWidth + i] - mean, 2) / kWidth;
    for (int i = 0; i < kWidth; ++i) {
      const double expected = (x[row * kWidth + i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i];
      EXPECT(std::fabs(y[row * kWidth + i] - expected) < 1e-5);
    }
  }
}

// --- fp32 matmul in tiles. ---

constexpr int kTile = 16;

__global__ void matmul(float* c, const float* a, const float* b, int m, int n, int k) {
  __shared__ float tile_a[kTile][kTile], tile_b[kTile][kTile];
  const int x = threadIdx.x, y = threadIdx.y;
  const int row = blockIdx.y * kTile + y, column = blockIdx.x * kTile + x;
  float sum = 0;
  for (int first = 0; first < k; first += kTile) {
    tile_a[y][x] = row < m && first + x < k ? a[row * k + first + x] : 0.0f;
    tile_b[y][x] = column < n && first + y < k ? b[(first + y) * n + column] : 0.0f;
    __syncthreads();
    for (int j = 0; j < kTile; ++j) sum += tile_a[y][j] * tile_b[j][x];
    __syncthreads();
  }
  if (row < m && column < n) c[row * n + column] = sum;
}

void test_matmul() {
  constexpr int m = 45, n = 70, k = 133;
  const std::vector<float> a = random_floats(m * k, 5), b = random_floats(k * n, 6);
  DeviceArray<float> d_a(a), d_b(b), d_c(m * n);
  const dim3 blocks((n + kTile - 1) / kTile, (m + kTile - 1) / kTile);
  matmul<<<blocks, dim3(kTile, kTile)>>>(d_c.get(), d_a.get(), d_b.get(), m, n, k);
  const std::vector<float> c = d_c.to_host();
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      double expected = 0;
      for (int l = 0; l < k; ++l) expected += double(a[i * k + l]) * b[l * n + j];
      EXPECT(std::fabs(c[i * n + j] - expected) < 1e-5);
    }
  }
}

// --- Histogram: atomics in shared and in global memory. ---

__global__ void histogram(int* bins, const unsigned char* data, int n) {
  __shared__ int counts[256];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) counts[i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    atomicAdd(&counts[data[i]], 1);
  __syncthreads();
  for (int i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&bins[i], counts[i]);
}

void test_histogram() {
  std::vector<unsigned char> data(50'000);
  std::vector<int> expected(256, 0);
  std::mt19937 random(7);
  for (auto& x : data) ++expected[x = random() % 256 * (random() % 256) / 256];
  DeviceArray<unsigned char> d_data(data);
  DeviceArray<int> bins(std::vector<int>(256, 0));
  histogram<<<6, 96>>>(bins.get(), d_data.get(), static_cast<int>(data.size()));
  EXPECT(bins.to_host() == expected);
}

// --- The CUDA library's functions, which are long PTX with branches, local arrays and tables. ---

__global__ void library(double* out, const float* x, const double* z, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  double* o = out + 12 * i;
  o[0] = sinf(x[i] * 1e6f);
  o[1] = expf(x[i]);
  o[2] = powf(fabsf(x[i]), 1.7f);
  o[3] = erff(x[i]);
  o[4] = tanhf(x[i]);
  o[5] = fmodf(x[i] * 100, 0.7f);
  o[6] = log1pf(fabsf(x[i]));
  o[7] = exp(z[i]);
  o[8] = sqrt(fabs(z[i])) / (1 + z[i] * z[i]);
  o[9] = cos(z[i] * 1e5);
  o[10] = cbrt(z[i]);
  o[11] = lgamma(fabs(z[i]) + 0.5);
}

void test_library() {
  constexpr int kSize = 500;
  const std::vector<float> x = random_floats(kSize, 8, 4.0f);
  std::vector<double> z(x.begin(), x.end());
  DeviceArray<float> d_x(x);
  DeviceArray<double> d_z(z), d_out(12 * kSize);
  library<<<4, 128>>>(d_out.get(), d_x.get(), d_z.get(), kSize);
  const std::vector<double> out = d_out.to_host();
  for (int i = 0; i < kSize; ++i) {
    const double v = x[i];
    const double expected[12] = {std::sin(double(x[i] * 1e6f)),
                                 std::exp(v),
                                 std::pow(std::fabs(v), 1.7),
                                 std::erf(v),
                                 std::tanh(v),
                                 std::fmod(double(x[i] * 100), double(0.7f)),
                                 std::log1p(std::fabs(v)),
                                 std::exp(v),
                                 std::sqrt(std::fabs(v)) / (1 + v * v),
                                 std::cos(v * 1e5),
                                 std::cbrt(v),
                                 std::lgamma(std::fabs(v) + 0.5)};
    for (int n = 0; n < 12; ++n) {
      const double tolerance = n < 7 ? 1e-6 : 1e-14;
      if (!(std::fabs(out[12 * i + n] - expected[n]) <= tolerance * (0.1 + std::fabs(expected[n])))) {
        std::fprintf(stderr, "function %d of %g gives %.17g, expected %.17g\n", n, v, out[12 * i + n],
                     expected[n]);
        std::exit(1);
      }
    }
  }
}

// --- Calls that are not inlined by the compiler, structures by value, constant memory, local arrays. ---

struct Pair {
  float first;
  double second;
};

__constant__ float coefficients[4] = {1, 2, 3, 4};
__device__ float scale;

__device__ __noinline__ Pair swap_and_scale(Pair p, int times) {
  for (int i = 0; i < times; ++i) p = {static_cast<float>(p.second) * scale, p.first * double(scale)};
  return p;
}

__global__ void calls(double* out, int times) {
  float local[8];
  for (int i = 0; i < 8; ++i) local[i] = coefficients[(i + times) % 4] + threadIdx.x;
  const Pair p = swap_and_scale({local[(threadIdx.x + times) % 8], 10.0}, times + threadIdx.x % 2);
  out[threadIdx.x] = p.first + 1000 * p.second;
}

void test_calls() {
  const float half = 0.5f;
  CUDA(cudaMemcpyToSymbol(scale, &half, sizeof(half)));
  DeviceArray<double> out(64);
  calls<<<1, 64>>>(out.get(), 2);
  const std::vector<double> result = out.to_host();
  for (int t = 0; t < 64; ++t) {
    const double value = ((t + 2) % 8 + 2) % 4 + 1 + t;
    const double factor = t % 2 ? 0.125 : 0.25;
    EXPECT(result[t] == factor * (t % 2 ? 10 + 1000 * value : value + 10000));
  }
}

// --- Branches to many places at once. ---

__global__ void many_ways(int* out, const int* ways) {
  int value = threadIdx.x;
  for (int round = 0; round < 3; ++round) {
    switch ((ways[threadIdx.x] + round) % 8) {
      case 0:
        value += 10;
        break;
      case 1:
        value = __popc(value) + 1;
        [[fallthrough]];
      case 2:
        value *= 3;
        break;
      case 3:
        for (int i = 0; i < value % 5; ++i) value ^= i << 4;
        break;
      case 4:
        value -= 77;
        break;
      case 5:
        value = value / 3;
        break;
      case 6:
        value = -value;
        break;
      default:
        out[threadIdx.x] = value;
        return;
    }
  }
  out[threadIdx.x] = value + 1'000'000;
}

int expected_way(int value, int way) {
  for (int round = 0; round < 3; ++round) {
    const int choice = (way + round) % 8;
    if (choice == 0) value += 10;
    if (choice == 1) value = __builtin_popcount(value) + 1;
    if (choice == 1 || choice == 2) value *= 3;
    if (choice == 3)
      for (int i = 0; i < value % 5; ++i) value ^= i << 4;
    if (choice == 4) value -= 77;
    if (choice == 5) value /= 3;
    if (choice == 6) value = -value;
    if (choice == 7) return value;
  }
  return value + 1'000'000;
}

void test_many_ways() {
  std::vector<int> ways(96);
  for (size_t i = 0; i < ways.size(); ++i) ways[i] = static_cast<int>(i * i % 29);
  DeviceArray<int> d_ways(ways), out(96);
  many_ways<<<1, 96>>>(out.get(), d_ways.get());
  const std::vector<int> result = out.to_host();
  for (int i = 0; i < 96; ++i) EXPECT(result[i] == expected_way(i, ways[i]));
}

// --- A spin lock among the lanes of a warp, and one among warps. ---

__global__ void locked(int* lock, int* counter) {
  for (bool done = false; !done;) {
    if (atomicCAS(lock, 0, 1) == 0) {
      volatile int* const c = counter;
      *c = *c + 1;
      __threadfence();
      atomicExch(lock, 0);
      done = true;
    }
  }
}

void test_locked() {
  DeviceArray<int> lock(std::vector<int>(1, 0)), counter(std::vector<int>(1, 0));
  locked<<<3, 64>>>(lock.get(), counter.get());
  EXPECT(counter.to_host()[0] == 192);
}

int main() {
  test_sum();
  test_layer_norm();
  test_matmul();
  test_histogram();
  test_library();
  test_calls();
  test_many_ways();
  test_locked();
  std::printf("fine\n");
}
