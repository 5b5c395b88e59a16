// Shuffles, votes, matches, reductions and atomics against what they should give, lane by lane.
#include <climits>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "program.h"

constexpr int kResults = 14;

__global__ void talk(unsigned* out, const unsigned* in) {
  const unsigned all = 0xffffffff;
  const unsigned lane = threadIdx.x;
  const unsigned v = in[lane];
  unsigned r[kResults];
  r[0] = __shfl_up_sync(all, v, 3);
  r[1] = __shfl_down_sync(all, v, 5, 16);
  r[2] = __shfl_xor_sync(all, v, 9);
  r[3] = __shfl_sync(all, v, lane * 7, 8);
  r[4] = __ballot_sync(all, v & 1);
  r[5] = __any_sync(all, v == 77) | __all_sync(all, v < 1000) << 1;
  r[6] = __match_any_sync(all, v % 5);
  int same;
  r[7] = __match_all_sync(all, v < 1000, &same) + same;
  r[8] = __reduce_add_sync(all, v);
  r[9] = __reduce_min_sync(all, static_cast<int>(v) - 500);
  r[10] = __reduce_xor_sync(all, v);
  r[11] = __activemask();
  // In parts of eight lanes, each with its own mask.
  const unsigned part = 0xffu << (lane & 24);
  r[12] = __reduce_max_sync(part, v);
  // Under divergence.
  r[13] = lane % 3 == 0 ? __ballot_sync(0x49249249, v & 1) : __ballot_sync(~0x49249249, v & 2);
  for (int i = 0; i < kResults; ++i) out[i * 32 + lane] = r[i];
}

void test_talk() {
  std::vector<unsigned> in(32);
  std::mt19937 random(1);
  for (unsigned& v : in) v = random() % 1000;
  DeviceArray<unsigned> d_in(in), d_out(32 * kResults);
  talk<<<1, 32>>>(d_out.get(), d_in.get());
  const std::vector<unsigned> out = d_out.to_host();
  for (unsigned lane = 0; lane < 32; ++lane) {
    const auto r = [&](int i) { return out[i * 32 + lane]; };
    unsigned odd = 0, sum = 0, all_xor = 0, match = 0, part_max = 0, third = 0;
    int smallest = INT_MAX;
    for (unsigned l = 0; l < 32; ++l) {
      odd |= (in[l] & 1) << l;
      sum += in[l];
      all_xor ^= in[l];
      smallest = std::min(smallest, static_cast<int>(in[l]) - 500);
      match |= unsigned{in[l] % 5 == in[lane] % 5} << l;
      if (l / 8 == lane / 8) part_max = std::max(part_max, in[l]);
      if ((l % 3 == 0) == (lane % 3 == 0)) third |= unsigned{(in[l] & (lane % 3 == 0 ? 1u : 2u)) != 0} << l;
    }
    bool any77 = false;
    for (const unsigned v : in) any77 |= v == 77;
    EXPECT(r(0) == in[lane < 3 ? lane : lane - 3]);
    EXPECT(r(1) == in[lane % 16 + 5 < 16 ? lane + 5 : lane]);
    EXPECT(r(2) == in[lane ^ 9]);
    EXPECT(r(3) == in[lane / 8 * 8 + lane * 7 % 8]);
    EXPECT(r(4) == odd);
    EXPECT(r(5) == (any77 | 2u));
    EXPECT(r(6) == match);
    EXPECT(r(7) == 0xffffffffu + 1);
    EXPECT(r(8) == sum);
    EXPECT(static_cast<int>(r(9)) == smallest);
    EXPECT(r(10) == all_xor);
    EXPECT(r(11) == 0xffffffff);
    EXPECT(r(12) == part_max);
    EXPECT(r(13) == third);
  }
}

struct Cells {
  unsigned add, inc, dec, smallest, largest, bits, exchanged, swapped;
  float sum;
  double wide_sum;
  unsigned long long long_sum;
  __half2 half_sum;
  __nv_bfloat162 bfloat_sum;
};

__global__ void atomics(Cells* c, unsigned* olds) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  olds[i] = atomicAdd(&c->add, 1u);
  atomicInc(&c->inc, 99);
  atomicDec(&c->dec, 99);
  atomicMin(reinterpret_cast<int*>(&c->smallest), 50 - static_cast<int>(i));
  atomicMax(&c->largest, i * 3);
  atomicOr(&c->bits, 1u << i % 32);
  atomicExch(&c->exchanged, i + 1);
  atomicCAS(&c->swapped, i, i + 1);
  atomicAdd(&c->sum, 0.5f);
  atomicAdd(&c->wide_sum, 0.25);
  atomicAdd(&c->long_sum, 1ull << 33);
  atomicAdd(&c->half_sum, __floats2half2_rn(1.0f, 2.0f));
  atomicAdd(&c->bfloat_sum, __floats2bfloat162_rn(1.0f, 0.5f));
}

void test_atomics() {
  constexpr unsigned kThreads = 128;
  DeviceArray<Cells> cells(1);
  DeviceArray<unsigned> olds(kThreads);
  CUDA(cudaMemset(cells.get(), 0, sizeof(Cells)));
  atomics<<<2, kThreads / 2>>>(cells.get(), olds.get());
  const Cells c = cells.to_host()[0];
  std::vector<int> seen(kThreads, 0);
  for (const unsigned old : olds.to_host()) ++seen.at(old);
  for (const int times : seen) EXPECT(times == 1);
  EXPECT(c.add == kThreads && c.inc == kThreads % 100 && c.dec == (100 * 100 - kThreads) % 100);
  EXPECT(static_cast<int>(c.smallest) == 50 - 127 && c.largest == 381 && c.bits == 0xffffffff);
  EXPECT(c.exchanged >= 1 && c.exchanged <= kThreads && c.swapped >= 1);
  EXPECT(c.sum == 64 && c.wide_sum == 32 && c.long_sum == 128ull << 33);
  EXPECT(__low2float(c.half_sum) == 128 && __high2float(c.half_sum) == 256);
  EXPECT(__low2float(c.bfloat_sum) == 128 && __high2float(c.bfloat_sum) == 64);
}

// Barriers that reduce, and named barriers between a producer and a consumer.
__global__ void barriers(int* out) {
  __shared__ int box[32];
  const int t = threadIdx.x;
  const int count = __syncthreads_count(t % 3 == 0);
  const int all = __syncthreads_and(t < 64);
  const int any = __syncthreads_or(t == 63);
  int sum = 0;
  for (int round = 0; round < 4; ++round) {
    if (t < 32) {
      box[t] = round * 100 + t;
      asm volatile("bar.arrive 1, 64;" ::: "memory");
      asm volatile("bar.sync 2, 64;" ::: "memory");
    } else {
      asm volatile("bar.sync 1, 64;" ::: "memory");
      sum += box[63 - t];
      asm volatile("bar.arrive 2, 64;" ::: "memory");
    }
  }
  out[t] = count * 10000 + all * 1000000 + any * 2000000 + sum;
}

void test_barriers() {
  DeviceArray<int> out(64);
  barriers<<<1, 64>>>(out.get());
  const std::vector<int> result = out.to_host();
  for (int t = 0; t < 64; ++t) EXPECT(result[t] == 3220000 + (t < 32 ? 0 : 600 + 4 * (63 - t)));
}

int main() {
  test_talk();
  test_atomics();
  test_barriers();
  std::printf("fine\n");
}
