// PTX instructions against host arithmetic, on random bit patterns: infinities, NaNs and subnormals are among
// them.
#include <bit>
#include <cfenv>
#include <cmath>
#include <tuple>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "program.h"

namespace {

constexpr int kCount = 1 << 14;
int num_failures = 0;

template <class T>
std::vector<T> random_bits(unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<T> result(kCount);
  for (int i = 0; i < kCount; ++i) {
    uint64_t bits = random();
    // Every fourth number is an ordinary one, so that sums and products are, too.
    if constexpr (sizeof(T) == 4)
      if (i % 4 == 0) bits = (bits & 0x87ffffff) | 0x3c000000;
    if constexpr (sizeof(T) == 8)
      if (i % 4 == 0) bits = (bits & 0x80ffffffffffffff) | 0x3f00000000000000;
    if (i % 16 == 1) bits &= 0x80000000800000ff;  // subnormal
    if (i % 64 == 2) bits = 0;
    std::memcpy(&result[i], &bits, sizeof(T));
  }
  return result;
}

template <class T>
uint64_t bits_of(T x) {
  uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof(T));
  return bits;
}

template <class R, class Kernel, class Host, class... T>
void compare(const char* name, Kernel kernel, Host host, int rounding, std::vector<T>... inputs) {
  DeviceArray<R> out(kCount);
  std::tuple<DeviceArray<T>...> arrays(inputs...);
  std::apply([&](auto&... array) { kernel<<<kCount / 256, 256>>>(out.get(), array.get()...); }, arrays);
  const std::vector<R> actual = out.to_host();
  std::fesetround(rounding);
  int shown = 0;
  for (int i = 0; i < kCount; ++i) {
    const volatile R expected = host(inputs[i]...);
    if (bits_of<R>(expected) == bits_of(actual[i])) continue;
    if (shown++ < 3) {
      std::fprintf(stderr, "%s:", name);
      (std::fprintf(stderr, " %llx", static_cast<unsigned long long>(bits_of(inputs[i]))), ...);
      std::fprintf(stderr, " gives %llx, expected %llx\n",
                   static_cast<unsigned long long>(bits_of(actual[i])),
                   static_cast<unsigned long long>(bits_of<R>(expected)));
    }
  }
  std::fesetround(FE_TONEAREST);
  num_failures += shown > 0;
}

// f32 operations give one NaN.
float canonical(float x) {
  return x == x ? x : std::bit_cast<float>(0x7fffffff);
}
float flush(float x) {
  return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x;
}
float saturate(float x) {
  return x > 0 ? std::fmin(x, 1.0f) : 0.0f;
}

}  // namespace

// A kernel for an instruction with one, two or three sources, and its test.
#define TEST1(NAME, R, CR, A, CA, ASM, ROUNDING, HOST)                            \
  __global__ void NAME(R* r, const A* a) {                                        \
    const int i = blockIdx.x * blockDim.x + threadIdx.x;                          \
    asm(ASM : "=" CR(r[i]) : CA(a[i]));                                           \
  }                                                                               \
  void test_##NAME() {                                                            \
    compare<R>(                                                                   \
        #NAME, NAME, [](A a) -> R { return HOST; }, ROUNDING, random_bits<A>(1)); \
  }
#define TEST2(NAME, R, CR, A, CA, B, CB, ASM, ROUNDING, HOST)                                             \
  __global__ void NAME(R* r, const A* a, const B* b) {                                                    \
    const int i = blockIdx.x * blockDim.x + threadIdx.x;                                                  \
    asm(ASM : "=" CR(r[i]) : CA(a[i]), CB(b[i]));                                                         \
  }                                                                                                       \
  void test_##NAME() {                                                                                    \
    compare<R>(                                                                                           \
        #NAME, NAME, [](A a, B b) -> R { return HOST; }, ROUNDING, random_bits<A>(1), random_bits<B>(2)); \
  }
#define TEST3(NAME, R, CR, A, CA, C, CC, ASM, ROUNDING, HOST)                                               \
  __global__ void NAME(R* r, const A* a, const A* b, const C* c) {                                          \
    const int i = blockIdx.x * blockDim.x + threadIdx.x;                                                    \
    asm(ASM : "=" CR(r[i]) : CA(a[i]), CA(b[i]), CC(c[i]));                                                 \
  }                                                                                                         \
  void test_##NAME() {                                                                                      \
    compare<R>(                                                                                             \
        #NAME, NAME, [](A a, [[maybe_unused]] A b, C c) -> R { return HOST; }, ROUNDING, random_bits<A>(1), \
        random_bits<A>(2), random_bits<C>(3));                                                              \
  }
#define FLOAT1(NAME, ASM, ROUNDING, HOST) TEST1(NAME, float, "f", float, "f", ASM " %0, %1;", ROUNDING, HOST)
#define FLOAT2(NAME, ASM, ROUNDING, HOST) \
  TEST2(NAME, float, "f", float, "f", float, "f", ASM " %0, %1, %2;", ROUNDING, HOST)
#define FLOAT3(NAME, ASM, ROUNDING, HOST) \
  TEST3(NAME, float, "f", float, "f", float, "f", ASM " %0, %1, %2, %3;", ROUNDING, HOST)
#define WORD1(NAME, ASM, HOST) TEST1(NAME, unsigned, "r", unsigned, "r", ASM " %0, %1;", FE_TONEAREST, HOST)
#define WORD2(NAME, ASM, HOST) \
  TEST2(NAME, unsigned, "r", unsigned, "r", unsigned, "r", ASM " %0, %1, %2;", FE_TONEAREST, HOST)
#define WORD3(NAME, ASM, HOST) \
  TEST3(NAME, unsigned, "r", unsigned, "r", unsigned, "r", ASM " %0, %1, %2, %3;", FE_TONEAREST, HOST)
#define LONG2(NAME, ASM, HOST) \
  TEST2(NAME, uint64_t, "l", uint64_t, "l", uint64_t, "l", ASM " %0, %1, %2;", FE_TONEAREST, HOST)

// --- f32 and f64: every way to round. ---

FLOAT2(add_rn, "add.rn.f32", FE_TONEAREST, canonical(a + b))
FLOAT2(add_rz, "add.rz.f32", FE_TOWARDZERO, canonical(a + b))
FLOAT2(add_rm, "add.rm.f32", FE_DOWNWARD, canonical(a + b))
FLOAT2(add_rp, "add.rp.f32", FE_UPWARD, canonical(a + b))
FLOAT2(sub_rz, "sub.rz.f32", FE_TOWARDZERO, canonical(a - b))
FLOAT2(mul_rn, "mul.rn.f32", FE_TONEAREST, canonical(a* b))
FLOAT2(mul_rm, "mul.rm.f32", FE_DOWNWARD, canonical(a* b))
FLOAT2(div_rn, "div.rn.f32", FE_TONEAREST, canonical(a / b))
FLOAT2(div_rp, "div.rp.f32", FE_UPWARD, canonical(a / b))
FLOAT1(rcp_rz, "rcp.rz.f32", FE_TOWARDZERO, canonical(1 / a))
FLOAT1(sqrt_rn, "sqrt.rn.f32", FE_TONEAREST, canonical(std::sqrt(a)))
FLOAT1(sqrt_rm, "sqrt.rm.f32", FE_DOWNWARD, canonical(std::sqrt(a)))
FLOAT3(fma_rn, "fma.rn.f32", FE_TONEAREST, canonical(std::fma(a, b, c)))
FLOAT3(fma_rz, "fma.rz.f32", FE_TOWARDZERO, canonical(std::fma(a, b, c)))
FLOAT3(fma_rp, "fma.rp.f32", FE_UPWARD, canonical(std::fma(a, b, c)))
FLOAT2(add_ftz, "add.rn.ftz.f32", FE_TONEAREST, flush(canonical(flush(a) + flush(b))))
FLOAT2(mul_ftz, "mul.rn.ftz.f32", FE_TONEAREST, flush(canonical(flush(a) * flush(b))))
FLOAT3(fma_ftz, "fma.rn.ftz.f32", FE_TONEAREST, flush(canonical(std::fma(flush(a), flush(b), flush(c)))))
FLOAT2(add_sat, "add.rn.sat.f32", FE_TONEAREST, saturate(a + b))
FLOAT3(fma_sat, "fma.rz.sat.f32", FE_TOWARDZERO, saturate(std::fma(a, b, c)))
FLOAT2(min_f32, "min.f32", FE_TONEAREST,
       canonical(a == b   ? (std::signbit(a) ? a : b)
                 : a != a ? b
                 : b != b ? a
                 : a < b  ? a
                          : b))
FLOAT2(max_f32, "max.f32", FE_TONEAREST,
       canonical(a == b   ? (std::signbit(a) ? b : a)
                 : a != a ? b
                 : b != b ? a
                 : a > b  ? a
                          : b))
FLOAT2(max_nan, "max.NaN.f32", FE_TONEAREST,
       canonical(a != a || b != b ? NAN
                 : a == b         ? (std::signbit(a) ? b : a)
                 : a > b          ? a
                                  : b))
FLOAT1(abs_f32, "abs.f32", FE_TONEAREST, std::fabs(a))
FLOAT2(copysign_f32, "copysign.f32", FE_TONEAREST, std::copysign(b, a))
TEST2(add_f64, uint64_t, "l", double, "d", double, "d", "{.reg .f64 t; add.rz.f64 t, %1, %2; mov.b64 %0, t;}",
      FE_TOWARDZERO, bits_of(a + b))
TEST2(mul_f64, double, "d", double, "d", double, "d", "mul.rn.f64 %0, %1, %2;", FE_TONEAREST, a* b)
TEST2(div_f64, double, "d", double, "d", double, "d", "div.rp.f64 %0, %1, %2;", FE_UPWARD, a / b)

// --- Integers. ---

WORD2(add_u32, "add.u32", a + b)
WORD2(sub_s32, "sub.s32", a - b)
WORD2(add_sat_s32, "add.sat.s32",
      unsigned(std::min<long>(INT_MAX, std::max<long>(INT_MIN, long(int(a)) + long(int(b))))))
WORD2(mul_lo, "mul.lo.s32", a* b)
WORD2(mul_hi_u32, "mul.hi.u32", unsigned(uint64_t(a) * b >> 32))
WORD2(mul_hi_s32, "mul.hi.s32", unsigned(long(int(a)) * int(b) >> 32))
WORD3(mad_lo, "mad.lo.u32", a* b + c)
WORD3(mad_hi, "mad.hi.s32", unsigned(long(int(a)) * int(b) >> 32) + c)
WORD2(mul24, "mul24.lo.s32", unsigned((int(a << 8) >> 8) * (long(int(b << 8) >> 8))))
TEST2(mul_wide, uint64_t, "l", unsigned, "r", unsigned, "r", "mul.wide.s32 %0, %1, %2;", FE_TONEAREST,
      uint64_t(long(int(a)) * int(b)))
LONG2(mul_hi_u64, "mul.hi.u64", uint64_t((unsigned __int128)(a)*b >> 64))
LONG2(mul_hi_s64, "mul.hi.s64", uint64_t((__int128)(int64_t(a)) * int64_t(b) >> 64))
LONG2(div_u64, "div.u64", b ? a / b : ~0ull)
WORD2(div_s32, "div.s32", b == 0 ? ~0u : int(b) == -1 ? 0u - a : unsigned(int(a) / int(b)))
WORD2(rem_u32, "rem.u32", b ? a % b : a)
WORD2(min_s32, "min.s32", unsigned(std::min(int(a), int(b))))
WORD2(max_u32, "max.u32", std::max(a, b))
WORD3(sad_s32, "sad.s32", (int(a) < int(b) ? b - a : a - b) + c)
WORD1(abs_s32, "abs.s32", int(a) < 0 ? 0u - a : a)
WORD1(popc, "popc.b32", unsigned(__builtin_popcount(a)))
WORD1(clz, "clz.b32", a ? unsigned(__builtin_clz(a)) : 32u)
WORD1(bfind_s32, "bfind.s32", (int(a) < 0 ? ~a : a) ? 31u - __builtin_clz(int(a) < 0 ? ~a : a) : ~0u)
WORD1(brev, "brev.b32", [](unsigned x) {
  unsigned r = 0;
  for (int n = 0; n < 32; ++n) r |= (x >> n & 1) << (31 - n);
  return r;
}(a))
// The lower bits of b and c are a position and a length, also beyond the word.
TEST3(bfe_u32, unsigned, "r", unsigned, "r", unsigned, "r",
      "{.reg .b32 p, l; and.b32 p, %2, 63; and.b32 l, %3, 63; bfe.u32 %0, %1, p, l;}", FE_TONEAREST,
      unsigned((uint64_t(a) >> (b & 63)) & ((1ull << (c & 63)) - 1)))
TEST3(bfe_s32, unsigned, "r", unsigned, "r", unsigned, "r",
      "{.reg .b32 p, l; and.b32 p, %2, 63; and.b32 l, %3, 63; bfe.s32 %0, %1, p, l;}", FE_TONEAREST,
      [](unsigned x, unsigned p, unsigned l) {
        unsigned r = 0;
        const unsigned sign = l == 0 ? 0 : x >> std::min(31u, p + l - 1) & 1;
        for (unsigned n = 0; n < 32; ++n) r |= (n < l && p + n < 32 ? x >> (p + n) & 1 : sign) << n;
        return r;
      }(a, b & 63, c & 63))
TEST3(bfi_b32, unsigned, "r", unsigned, "r", unsigned, "r",
      "{.reg .b32 p, l; and.b32 p, %3, 63; shr.u32 l, %3, 26; bfi.b32 %0, %1, %2, p, l;}", FE_TONEAREST,
      [](unsigned x, unsigned into, unsigned p, unsigned l) {
        for (unsigned n = 0; n < l && p + n < 32; ++n)
          into = (into & ~(1u << (p + n))) | (x >> n & 1) << (p + n);
        return into;
      }(a, b, c & 63, c >> 26))
TEST2(bmsk, unsigned, "r", unsigned, "r", unsigned, "r",
      "{.reg .b32 p, l; and.b32 p, %1, 63; and.b32 l, %2, 63; bmsk.clamp.b32 %0, p, l;}", FE_TONEAREST,
      (b & 63) >= 32 ? ((a & 63) >= 32 ? 0 : ~0u << (a & 63))
                     : ((a & 63) >= 32 ? 0 : ((1u << (b & 63)) - 1) << (a & 63)))
TEST2(shl_b32, unsigned, "r", unsigned, "r", unsigned, "r",
      "{.reg .b32 t; and.b32 t, %2, 63; shl.b32 %0, %1, t;}", FE_TONEAREST, (b & 63) < 32 ? a << (b & 63) : 0)
TEST2(shr_s32, unsigned, "r", unsigned, "r", unsigned, "r",
      "{.reg .b32 t; and.b32 t, %2, 63; shr.s32 %0, %1, t;}", FE_TONEAREST,
      unsigned(int(a) >> std::min(31u, b & 63)))
WORD3(shf_l_wrap, "shf.l.wrap.b32", unsigned((uint64_t(b) << 32 | a) << (c & 31) >> 32))
WORD3(shf_r_clamp, "shf.r.clamp.b32", unsigned((uint64_t(b) << 32 | a) >> std::min(c, 32u)))
WORD3(prmt, "prmt.b32", [](uint64_t pair, unsigned s) {
  unsigned r = 0;
  for (int n = 0; n < 4; ++n, s >>= 4) {
    const unsigned byte = pair >> 8 * (s & 7) & 0xff;
    r |= (s & 8 ? (byte & 0x80 ? 0xffu : 0u) : byte) << 8 * n;
  }
  return r;
}(uint64_t(b) << 32 | a, c))
TEST3(lop3, unsigned, "r", unsigned, "r", unsigned, "r", "lop3.b32 %0, %1, %2, %3, 0xCA;", FE_TONEAREST,
      (a & b) | (~a & c))
WORD3(dp4a, "dp4a.s32.u32", [](unsigned x, unsigned y, unsigned z) {
  for (int n = 0; n < 4; ++n) z += int8_t(x >> 8 * n) * uint8_t(y >> 8 * n);
  return z;
}(a, b, c))
TEST2(add_with_carry, uint64_t, "l", uint64_t, "l", uint64_t, "l",
      "{.reg .b32 al, ah, bl, bh, l, h; mov.b64 {al, ah}, %1; mov.b64 {bl, bh}, %2; add.cc.u32 l, al, bl;"
      " addc.u32 h, ah, bh; mov.b64 %0, {l, h};}",
      FE_TONEAREST, a + b)
TEST2(subtract_with_borrow, uint64_t, "l", uint64_t, "l", uint64_t, "l",
      "{.reg .b32 al, ah, bl, bh, l, h; mov.b64 {al, ah}, %1; mov.b64 {bl, bh}, %2; sub.cc.u32 l, al, bl;"
      " subc.u32 h, ah, bh; mov.b64 %0, {l, h};}",
      FE_TONEAREST, a - b)
TEST2(slct, unsigned, "r", unsigned, "r", unsigned, "r", "slct.u32.s32 %0, %1, %2, %1;", FE_TONEAREST,
      int(a) >= 0 ? a : b)

WORD3(dp2a, "dp2a.hi.u32.s32", [](unsigned x, unsigned y, unsigned z) {
  for (int n = 0; n < 2; ++n) z += uint16_t(x >> 16 * n) * int8_t(y >> (16 + 8 * n));
  return z;
}(a, b, c))
WORD3(mad24, "mad24.lo.u32", (a & 0xffffff) * (b & 0xffffff) + c)
WORD2(sub_sat_s32, "sub.sat.s32",
      unsigned(std::min<long>(INT_MAX, std::max<long>(INT_MIN, long(int(a)) - int(b)))))
WORD1(cnot, "cnot.b32", a == 0)
WORD1(bfind_shift, "bfind.shiftamt.u32", a ? unsigned(__builtin_clz(a)) : ~0u)
WORD3(prmt_rc16, "prmt.b32.rc16", (c & 1 ? a >> 16 : a & 0xffff) * 0x10001u)
WORD3(prmt_b4e, "prmt.b32.b4e", [](uint64_t pair, unsigned first) {
  unsigned r = 0;
  for (int n = 0; n < 4; ++n) r |= unsigned(pair >> 8 * ((8 + first - n) % 8) & 0xff) << 8 * n;
  return r;
}(uint64_t(b) << 32 | a, c & 3))
// A product of 64 bits and a sum, made of halves.
TEST2(wide_mad, uint64_t, "l", uint64_t, "l", uint64_t, "l",
      "{.reg .b32 al, ah, bl, bh, l, h; mov.b64 {al, ah}, %1; mov.b64 {bl, bh}, %2; mad.lo.cc.u32 l, al, bl, "
      "ah;"
      " madc.hi.u32 h, al, bl, bh; mov.b64 %0, {l, h};}",
      FE_TONEAREST, (a & 0xffffffff) * (b & 0xffffffff) + (a >> 32) + (b & 0xffffffff00000000))
TEST1(
    testp, unsigned, "r", float, "f",
    "{.reg .pred p; .reg .b32 t; testp.subnormal.f32 p, %1; selp.u32 %0, 1, 0, p; testp.notanumber.f32 p, %1;"
    " selp.u32 t, 2, 0, p; or.b32 %0, %0, t; testp.infinite.f32 p, %1; selp.u32 t, 4, 0, p; or.b32 %0, %0, "
    "t;}",
    FE_TONEAREST,
    (std::fpclassify(a) == FP_SUBNORMAL ? 1 : 0) | (std::isnan(a) ? 2 : 0) | (std::isinf(a) ? 4 : 0))

// --- A branch by a table: every lane goes its way. ---

WORD1(brx,
      "{.reg .b32 t; targets: .branchtargets way0, way1, way2; rem.u32 t, %1, 3; brx.idx t, targets;"
      " way0: add.u32 %0, %1, 100; bra.uni end; way1: mul.lo.u32 %0, %1, 7; bra.uni end; way2: not.b32 %0, "
      "%1; end:"
      " mov.b32 t, 0; xor.b32 %0, %0, t;}  //",
      a % 3 == 0   ? a + 100
      : a % 3 == 1 ? a * 7
                   : ~a)

// --- Comparisons: ordered, unordered, of both signs. ---

TEST2(setp_lt_f32, unsigned, "r", float, "f", float, "f",
      "{.reg .pred p; setp.lt.f32 p, %1, %2; selp.u32 %0, 1, 0, p;}", FE_TONEAREST, a < b)
TEST2(setp_ltu_f32, unsigned, "r", float, "f", float, "f",
      "{.reg .pred p; setp.ltu.f32 p, %1, %2; selp.u32 %0, 1, 0, p;}", FE_TONEAREST, !(a >= b))
TEST2(setp_ne_f32, unsigned, "r", float, "f", float, "f",
      "{.reg .pred p; setp.ne.f32 p, %1, %2; selp.u32 %0, 1, 0, p;}", FE_TONEAREST, a<b || a> b)
TEST2(setp_nan_f32, unsigned, "r", float, "f", float, "f",
      "{.reg .pred p; setp.nan.f32 p, %1, %2; selp.u32 %0, 1, 0, p;}", FE_TONEAREST, a != a || b != b)
TEST2(setp_gt_s32, unsigned, "r", unsigned, "r", unsigned, "r",
      "{.reg .pred p; setp.gt.s32 p, %1, %2; selp.u32 %0, 1, 0, p;}", FE_TONEAREST, int(a) > int(b))
TEST2(setp_hs_u32, unsigned, "r", unsigned, "r", unsigned, "r",
      "{.reg .pred p; setp.hs.u32 p, %1, %2; selp.u32 %0, 1, 0, p;}", FE_TONEAREST, a >= b)
TEST2(set_ftz_f32, float, "f", float, "f", float, "f", "set.eq.ftz.f32.f32 %0, %1, %2;", FE_TONEAREST,
      flush(a) == flush(b) ? 1.0f : 0.0f)

// --- Conversions. ---

long to_integer(double x, long lowest, long highest) {
  if (x != x) return 0;
  x = std::nearbyint(x);
  return x <= double(lowest) ? lowest : x >= double(highest) ? highest : long(x);
}
TEST1(f32_to_s32_rn, int, "r", float, "f", "cvt.rni.s32.f32 %0, %1;", FE_TONEAREST,
      int(to_integer(a, INT_MIN, INT_MAX)))
TEST1(f32_to_s32_rz, int, "r", float, "f", "cvt.rzi.s32.f32 %0, %1;", FE_TOWARDZERO,
      int(to_integer(a, INT_MIN, INT_MAX)))
TEST1(f32_to_u32_rm, unsigned, "r", float, "f", "cvt.rmi.u32.f32 %0, %1;", FE_DOWNWARD,
      unsigned(to_integer(a, 0, UINT_MAX)))
TEST1(f64_to_s32_rp, int, "r", double, "d", "cvt.rpi.s32.f64 %0, %1;", FE_UPWARD,
      int(to_integer(a, INT_MIN, INT_MAX)))
TEST1(f32_to_u8, unsigned, "r", float, "f", "{.reg .u16 t; cvt.rni.sat.u8.f32 t, %1; cvt.u32.u16 %0, t;}",
      FE_TONEAREST, unsigned(to_integer(a, 0, 255)))
TEST1(s32_to_f32_rz, float, "f", int, "r", "cvt.rz.f32.s32 %0, %1;", FE_TOWARDZERO, float(a))
TEST1(u64_to_f32_rp, float, "f", uint64_t, "l", "cvt.rp.f32.u64 %0, %1;", FE_UPWARD, float(a))
TEST1(s64_to_f64_rm, double, "d", int64_t, "l", "cvt.rm.f64.s64 %0, %1;", FE_DOWNWARD, double(a))
TEST1(f64_to_f32_rn, float, "f", double, "d", "cvt.rn.f32.f64 %0, %1;", FE_TONEAREST, canonical(float(a)))
TEST1(f64_to_f32_rz, float, "f", double, "d", "cvt.rz.f32.f64 %0, %1;", FE_TOWARDZERO, canonical(float(a)))
TEST1(f32_to_whole, float, "f", float, "f", "cvt.rmi.f32.f32 %0, %1;", FE_TONEAREST, canonical(std::floor(a)))
TEST1(f32_to_sat, float, "f", float, "f", "cvt.sat.f32.f32 %0, %1;", FE_TONEAREST, saturate(a))
TEST1(s8_to_s32, int, "r", unsigned, "r", "cvt.s32.s8 %0, %1;", FE_TONEAREST, int(int8_t(a)))
TEST1(s32_to_s16_sat, int, "r", int, "r", "{.reg .s16 t; cvt.sat.s16.s32 t, %1; cvt.s32.s16 %0, t;}",
      FE_TONEAREST, std::min(32767, std::max(-32768, a)))
TEST1(s32_to_u64, uint64_t, "l", int, "r", "cvt.u64.s32 %0, %1;", FE_TONEAREST, uint64_t(int64_t(a)))

// The host's versions of CUDA's conversions are the judges.
unsigned short bits(__half x) {
  return __half_raw(x).x;
}
unsigned short bits(__nv_bfloat16 x) {
  return __nv_bfloat16_raw(x).x;
}
#define TO_HALF(NAME, TYPE, HOST) \
  TEST1(NAME, unsigned short, "h", float, "f", "cvt." TYPE ".f32 %0, %1;", FE_TONEAREST, bits(HOST))
TO_HALF(f32_to_f16_rn, "rn.f16", __float2half_rn(a))
TO_HALF(f32_to_f16_rz, "rz.f16", __float2half_rz(a))
TO_HALF(f32_to_bf16_rn, "rn.bf16", __float2bfloat16_rn(a))
TO_HALF(f32_to_bf16_rz, "rz.bf16", __float2bfloat16_rz(a))
TEST2(f32_to_bf16x2, unsigned, "r", float, "f", float, "f", "cvt.rn.bf16x2.f32 %0, %1, %2;", FE_TONEAREST,
      unsigned(bits(__float2bfloat16_rn(a))) << 16 | bits(__float2bfloat16_rn(b)))
TEST2(f32_to_f16x2, unsigned, "r", float, "f", float, "f", "cvt.rn.f16x2.f32 %0, %1, %2;", FE_TONEAREST,
      unsigned(bits(__float2half_rn(a))) << 16 | bits(__float2half_rn(b)))
TEST1(f16_to_f32, float, "f", unsigned short, "h", "cvt.f32.f16 %0, %1;", FE_TONEAREST,
      canonical(__half2float(__half(__half_raw{a}))))

// --- f16 and bf16: exact arithmetic in long double, rounded once. ---

template <class Half>
long double widen(unsigned short x) {
  if constexpr (std::is_same_v<Half, __half>) return __half2float(__half(__half_raw{x}));
  return std::bit_cast<float>(unsigned(x) << 16);
}
// The neighbour that is nearest, the even one of two, by trying.
template <class Half>
unsigned short nearest(long double exact) {
  if (exact != exact) return 0x7fff;
  const bool f16 = std::is_same_v<Half, __half>;
  const unsigned short infinity = f16 ? 0x7c00 : 0x7f80;
  const long double overflow = f16 ? 65520.0L : std::ldexp(511.0L / 256.0L, 127);
  const long double magnitude = std::fabs(exact);
  const unsigned short sign = std::signbit(exact) ? 0x8000 : 0;
  if (magnitude >= overflow) return sign | infinity;
  int low = 0, high = infinity;
  while (high - low > 1) (widen<Half>((low + high) / 2) <= magnitude ? low : high) = (low + high) / 2;
  if (high == infinity) return sign | low;
  const long double below = magnitude - widen<Half>(low);
  const long double above = widen<Half>(high) - magnitude;
  return sign | (below < above || (below == above && low % 2 == 0) ? low : high);
}
template <class Half, class F>
unsigned both(unsigned a, unsigned b, unsigned c, F f) {
  const auto one = [&](int shift) -> unsigned {
    return nearest<Half>(f(widen<Half>(a >> shift & 0xffff), widen<Half>(b >> shift & 0xffff),
                           widen<Half>(c >> shift & 0xffff)));
  };
  return one(16) << 16 | one(0);
}
using Wide = long double;
WORD3(fma_f16x2, "fma.rn.f16x2", both<__half>(a, b, c, [](Wide x, Wide y, Wide z) { return x * y + z; }))
WORD3(fma_relu_f16x2, "fma.rn.relu.f16x2", both<__half>(a, b, c, [](Wide x, Wide y, Wide z) {
        const Wide r = x * y + z;
        return r <= 0 ? 0 : r;
      }))
WORD2(add_f16x2, "add.rn.f16x2", both<__half>(a, b, b, [](Wide x, Wide y, Wide) { return x + y; }))
WORD2(mul_f16x2, "mul.rn.f16x2", both<__half>(a, b, b, [](Wide x, Wide y, Wide) { return x * y; }))
WORD2(mul_bf16x2, "mul.rn.bf16x2", both<__nv_bfloat16>(a, b, b, [](Wide x, Wide y, Wide) { return x * y; }))
WORD2(max_bf16x2, "max.bf16x2", both<__nv_bfloat16>(a, b, b, [](Wide x, Wide y, Wide) {
        return x == y ? (std::signbit(x) ? y : x) : std::fmax(x, y);
      }))

WORD2(set_lt_f16x2, "set.lt.f16x2.f16x2", [](unsigned x, unsigned y) {
  const auto one = [&](int shift) -> unsigned {
    return widen<__half>(x >> shift & 0xffff) < widen<__half>(y >> shift & 0xffff) ? 0x3c00u << shift : 0;
  };
  return one(16) | one(0);
}(a, b))
WORD2(min_nan_f16x2, "min.NaN.f16x2", both<__half>(a, b, b, [](Wide x, Wide y, Wide) -> Wide {
        return x != x || y != y ? NAN : x == y ? (std::signbit(x) ? x : y) : std::fmin(x, y);
      }))

// --- Approximations: relative error. ---

#define APPROXIMATE(NAME, ASM, TOLERANCE, HOST)                                                            \
  __global__ void NAME(float* r, const float* a) {                                                         \
    const int i = blockIdx.x * blockDim.x + threadIdx.x;                                                   \
    asm(ASM " %0, %1;" : "=f"(r[i]) : "f"(a[i]));                                                          \
  }                                                                                                        \
  void test_##NAME() {                                                                                     \
    const std::vector<float> in = random_floats(kCount, 5, 30.0f);                                         \
    DeviceArray<float> d_in(in), out(kCount);                                                              \
    NAME<<<kCount / 256, 256>>>(out.get(), d_in.get());                                                    \
    const std::vector<float> actual = out.to_host();                                                       \
    for (int i = 0; i < kCount; ++i) {                                                                     \
      const double a = in[i];                                                                              \
      const double expected = HOST;                                                                        \
      const bool same = expected != expected                                                               \
                            ? actual[i] != actual[i]                                                       \
                            : std::fabs(actual[i] - expected) <= TOLERANCE * (1e-3 + std::fabs(expected)); \
      if (same) continue;                                                                                  \
      std::fprintf(stderr, #NAME ": of %g gives %g, expected %g\n", a, actual[i], expected);               \
      ++num_failures;                                                                                      \
      break;                                                                                               \
    }                                                                                                      \
  }
APPROXIMATE(ex2, "ex2.approx.ftz.f32", 3e-7, std::exp2(a))
APPROXIMATE(lg2, "lg2.approx.f32", 3e-7, std::log2(a))
APPROXIMATE(sin, "sin.approx.f32", 1e-6, std::sin(a))
APPROXIMATE(cos, "cos.approx.f32", 1e-6, std::cos(a))
APPROXIMATE(rsqrt, "rsqrt.approx.f32", 3e-7, 1 / std::sqrt(a))
APPROXIMATE(tanh_approx, "tanh.approx.f32", 1e-3, std::tanh(a))

int main() {
#define RUN(NAME) test_##NAME()
  RUN(add_rn), RUN(add_rz), RUN(add_rm), RUN(add_rp), RUN(sub_rz), RUN(mul_rn), RUN(mul_rm), RUN(div_rn),
      RUN(div_rp);
  RUN(rcp_rz), RUN(sqrt_rn), RUN(sqrt_rm), RUN(fma_rn), RUN(fma_rz), RUN(fma_rp), RUN(add_ftz), RUN(mul_ftz);
  RUN(fma_ftz), RUN(add_sat), RUN(fma_sat), RUN(min_f32), RUN(max_f32), RUN(max_nan), RUN(abs_f32),
      RUN(copysign_f32);
  RUN(add_f64), RUN(mul_f64), RUN(div_f64);
  RUN(add_u32), RUN(sub_s32), RUN(add_sat_s32), RUN(mul_lo), RUN(mul_hi_u32), RUN(mul_hi_s32), RUN(mad_lo),
      RUN(mad_hi);
  RUN(mul24), RUN(mul_wide), RUN(mul_hi_u64), RUN(mul_hi_s64), RUN(div_u64), RUN(div_s32), RUN(rem_u32),
      RUN(min_s32);
  RUN(max_u32), RUN(sad_s32), RUN(abs_s32), RUN(popc), RUN(clz), RUN(bfind_s32), RUN(brev), RUN(bfe_u32),
      RUN(bfe_s32);
  RUN(bfi_b32), RUN(bmsk), RUN(shl_b32), RUN(shr_s32), RUN(shf_l_wrap), RUN(shf_r_clamp), RUN(prmt),
      RUN(lop3), RUN(dp4a);
  RUN(add_with_carry), RUN(subtract_with_borrow), RUN(slct), RUN(brx), RUN(dp2a), RUN(mad24);
  RUN(sub_sat_s32), RUN(cnot), RUN(bfind_shift), RUN(prmt_rc16), RUN(prmt_b4e), RUN(wide_mad), RUN(testp);
  RUN(setp_lt_f32), RUN(setp_ltu_f32), RUN(setp_ne_f32), RUN(setp_nan_f32), RUN(setp_gt_s32),
      RUN(setp_hs_u32);
  RUN(set_ftz_f32);
  RUN(f32_to_s32_rn), RUN(f32_to_s32_rz), RUN(f32_to_u32_rm), RUN(f64_to_s32_rp), RUN(f32_to_u8),
      RUN(s32_to_f32_rz);
  RUN(u64_to_f32_rp), RUN(s64_to_f64_rm), RUN(f64_to_f32_rn), RUN(f64_to_f32_rz), RUN(f32_to_whole),
      RUN(f32_to_sat);
  RUN(s8_to_s32), RUN(s32_to_s16_sat), RUN(s32_to_u64), RUN(f32_to_f16_rn), RUN(f32_to_f16_rz),
      RUN(f32_to_bf16_rn);
  RUN(f32_to_bf16_rz), RUN(f32_to_bf16x2), RUN(f32_to_f16x2), RUN(f16_to_f32);
  RUN(fma_f16x2), RUN(fma_relu_f16x2), RUN(add_f16x2), RUN(mul_f16x2), RUN(mul_bf16x2), RUN(max_bf16x2),
      RUN(set_lt_f16x2), RUN(min_nan_f16x2);
  RUN(ex2), RUN(lg2), RUN(sin), RUN(cos), RUN(rsqrt), RUN(tanh_approx);
  if (num_failures) {
    std::printf("%d instructions differ\n", num_failures);
    return 1;
  }
  std::printf("all instructions agree\n");
}
