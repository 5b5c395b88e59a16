// bf16 matmul with mma.sync m16n8k16, ldmatrix and two stages of cp.async, against double precision; and mma
// in the other shapes and types.
#include <cmath>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "program.h"

namespace {

constexpr int kRows = 64, kColumns = 64, kDepth = 32;          // of a block's tile
constexpr int kStrideA = kDepth + 8, kStrideB = kColumns + 8;  // so that ldmatrix has no bank conflicts

__device__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

__device__ void copy_async(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}

__device__ void mma(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

struct Stage {
  __align__(16) __nv_bfloat16 a[kRows][kStrideA];
  __align__(16) __nv_bfloat16 b[kDepth][kStrideB];
};

__device__ void load_stage(Stage& s, const __nv_bfloat16* a, const __nv_bfloat16* b, int n, int k,
                           int first) {
  const int row0 = blockIdx.y * kRows, column0 = blockIdx.x * kColumns;
  for (int i = threadIdx.x; i < kRows * kDepth / 8; i += blockDim.x) {
    const int row = i / (kDepth / 8), column = i % (kDepth / 8) * 8;
    copy_async(&s.a[row][column], a + static_cast<size_t>(row0 + row) * k + first + column);
  }
  for (int i = threadIdx.x; i < kDepth * kColumns / 8; i += blockDim.x) {
    const int row = i / (kColumns / 8), column = i % (kColumns / 8) * 8;
    copy_async(&s.b[row][column], b + static_cast<size_t>(first + row) * n + column0 + column);
  }
  asm volatile("cp.async.commit_group;");
}

// Four warps, each 16 rows of 64 columns.  Sizes are multiples of the tile's.
__global__ void matmul(float* c, const __nv_bfloat16* a, const __nv_bfloat16* b, int n, int k) {
  __shared__ Stage stages[2];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float sums[kColumns / 8][4] = {};
  load_stage(stages[0], a, b, n, k, 0);
  for (int first = 0, stage = 0; first < k; first += kDepth, stage ^= 1) {
    if (first + kDepth < k) {
      load_stage(stages[stage ^ 1], a, b, n, k, first + kDepth);
      asm volatile("cp.async.wait_group 1;" ::: "memory");
    } else {
      asm volatile("cp.async.wait_group 0;" ::: "memory");
    }
    __syncthreads();
    const Stage& s = stages[stage];
    for (int depth = 0; depth < kDepth; depth += 16) {
      unsigned fa[4];
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                   : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3])
                   : "r"(shared_address(&s.a[warp * 16 + lane % 16][depth + lane / 16 * 8])));
      for (int column = 0; column < kColumns; column += 8) {
        unsigned b0, b1;
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                     : "=r"(b0), "=r"(b1)
                     : "r"(shared_address(&s.b[depth + lane % 16][column])));
        mma(sums[column / 8], fa, b0, b1);
      }
    }
    __syncthreads();
  }
  const int row = blockIdx.y * kRows + warp * 16 + lane / 4;
  for (int j = 0; j < kColumns / 8; ++j) {
    const int column = blockIdx.x * kColumns + j * 8 + lane % 4 * 2;
    *reinterpret_cast<float2*>(&c[static_cast<size_t>(row) * n + column]) =
        make_float2(sums[j][0], sums[j][1]);
    *reinterpret_cast<float2*>(&c[static_cast<size_t>(row + 8) * n + column]) =
        make_float2(sums[j][2], sums[j][3]);
  }
}

// cp.async in its sizes; where less is read than written, the rest is zeros.
__global__ void copies(unsigned char* out, const unsigned char* in, const int* source_bytes) {
  __shared__ __align__(16) unsigned char s[3][32][16];
  const int lane = threadIdx.x;
  const unsigned to[3] = {shared_address(s[0][lane]), shared_address(s[1][lane]), shared_address(s[2][lane])};
  const unsigned char* from = in + 16 * lane;
  const int bytes = source_bytes[lane];
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to[0]), "l"(from), "r"(bytes)
               : "memory");
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(to[1]), "l"(from) : "memory");
  asm volatile("cp.async.ca.shared.global.L2::128B [%0], [%1], 4, %2;" ::"r"(to[2]), "l"(from), "r"(bytes / 4)
               : "memory");
  asm volatile("cp.async.wait_all;" ::: "memory");
  for (int i = 0; i < 16; ++i) {
    out[48 * lane + i] = s[0][lane][i];
    out[48 * lane + 16 + i] = i < 8 ? s[1][lane][i] : 0;
    out[48 * lane + 32 + i] = i < 4 ? s[2][lane][i] : 0;
  }
}

void test_copies() {
  std::vector<unsigned char> in(512);
  std::vector<int> source_bytes(32);
  for (int i = 0; i < 512; ++i) in[i] = 1 + i % 255;
  for (int i = 0; i < 32; ++i) source_bytes[i] = i % 17;
  DeviceArray<unsigned char> d_in(in), out(32 * 48);
  DeviceArray<int> d_bytes(source_bytes);
  copies<<<1, 32>>>(out.get(), d_in.get(), d_bytes.get());
  const auto result = out.to_host();
  for (int lane = 0; lane < 32; ++lane) {
    const int copied[3] = {source_bytes[lane], 8, source_bytes[lane] / 4};
    for (int i = 0; i < 48; ++i)
      EXPECT(result[48 * lane + i] == (i % 16 < copied[i / 16] ? in[16 * lane + i % 16] : 0));
  }
}

template <class T>
std::vector<T> random_numbers(size_t size, unsigned seed) {
  const std::vector<float> floats = random_floats(size, seed);
  return {floats.begin(), floats.end()};
}

void test_matmul() {
  constexpr int m = 128, n = 192, k = 160;
  const auto a = random_numbers<__nv_bfloat16>(m * k, 1);
  const auto b = random_numbers<__nv_bfloat16>(k * n, 2);
  DeviceArray<__nv_bfloat16> d_a(a), d_b(b);
  DeviceArray<float> d_c(m * n);
  matmul<<<dim3(n / kColumns, m / kRows), 128>>>(d_c.get(), d_a.get(), d_b.get(), n, k);
  const std::vector<float> c = d_c.to_host();
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      double expected = 0;
      for (int l = 0; l < k; ++l) expected += double(float(a[i * k + l])) * float(b[l * n + j]);
      EXPECT(std::fabs(c[i * n + j] - expected) < 1e-5);
    }
  }
}

// One multiplication, whose fragments are filled as the PTX manual says: A 16 x k, B k x 8, C 16 x 8.
template <class T, int k>
__global__ void one_mma(float* c, const T* a, const T* b) {
  const int group = threadIdx.x / 4, pair = threadIdx.x % 4 * 2;
  const auto two = [](T low, T high) {
    T both[2] = {low, high};
    return *reinterpret_cast<unsigned*>(both);
  };
  unsigned fa[k / 4], fb[k / 8];
  for (int part = 0; part < k / 8; ++part) {
    for (int half = 0; half < 2; ++half) {
      const T* row = a + (group + 8 * half) * k + 8 * part + pair;
      fa[2 * part + half] = two(row[0], row[1]);
    }
    fb[part] = two(b[(8 * part + pair) * 8 + group], b[(8 * part + pair + 1) * 8 + group]);
  }
  float d[4];
  const float one = 1.0f;
  constexpr bool bf16 = sizeof(T) == 2 && std::is_same_v<T, __nv_bfloat16>;
  if constexpr (k == 16 && bf16) {
    for (float& x : d) x = one;
    mma(d, reinterpret_cast<unsigned(&)[4]>(fa), fb[0], fb[1]);
  } else if constexpr (k == 8 && bf16) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%7,%7,%7};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fb[0]), "f"(one));
  } else if constexpr (k == 8) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%7,%7,%7};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fb[0]), "f"(one));
  } else {  // with sums in f16
    unsigned h[2];
    const unsigned ones = 0x3c003c00;
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%8,%8};"
                 : "=r"(h[0]), "=r"(h[1])
                 : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]), "r"(ones));
    for (int i = 0; i < 4; ++i) d[i] = __half2float(reinterpret_cast<__half*>(h)[i]);
  }
  for (int i = 0; i < 4; ++i) c[(group + i / 2 * 8) * 8 + pair + i % 2] = d[i];
}

template <class T, int k>
void test_one_mma(double tolerance) {
  const auto a = random_numbers<T>(16 * k, 3);
  const auto b = random_numbers<T>(k * 8, 4);
  DeviceArray<T> d_a(a), d_b(b);
  DeviceArray<float> d_c(16 * 8);
  one_mma<T, k><<<1, 32>>>(d_c.get(), d_a.get(), d_b.get());
  const std::vector<float> c = d_c.to_host();
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      double expected = 1;
      for (int l = 0; l < k; ++l) expected += double(float(a[i * k + l])) * float(b[l * 8 + j]);
      EXPECT(std::fabs(c[i * 8 + j] - expected) < tolerance);
    }
  }
}

}  // namespace

int main() {
  test_matmul();
  test_copies();
  test_one_mma<__nv_bfloat16, 16>(1e-6);
  test_one_mma<__nv_bfloat16, 8>(1e-6);
  test_one_mma<__half, 8>(1e-6);
  test_one_mma<__half, 16>(5e-3);
  std::printf("fine\n");
}
