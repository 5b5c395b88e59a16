// mma.sync and ldmatrix.
#include <cstring>

#include <immintrin.h>

#include "tests/vgpu/instructions/access.h"
#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/instructions/formats.h"
#include "tests/vgpu/instructions/lanes.h"

namespace trireme::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;

constexpr int kRows = 16;    // of A and C
constexpr int kColumns = 8;  // of B and C

// Lane l holds, of rows l/4 and l/4+8, pairs of neighbours at column 2*(l%4) of every eight columns.  B is
// laid out like A's first eight rows, transposed.
int quad(int lane) {
  return lane / 4;
}
int pair_column(int lane) {
  return 2 * (lane % 4);
}

template <class Format>
float half_of(uint32_t bits, int n) {
  return widen<Format>(static_cast<uint16_t>(bits >> 16 * n));
}

// C, as f32 in four registers or as f16 in two.
struct Accumulator {
  alignas(32) float at[kRows][kColumns];

  static int row(int lane, int reg) { return quad(lane) + 8 * reg; }

  void read(const Warp& w, const Lanes* regs, bool is_f32) {
    for (int reg = 0; reg < 2; ++reg)
      for (int lane = 0; lane < kWarpSize; ++lane)
        for (int n = 0; n < 2; ++n)
          at[row(lane, reg)][pair_column(lane) + n] = is_f32
                                                          ? w.at<float>(regs[2 * reg + n])[lane]
                                                          : half_of<F16>(w.at<uint32_t>(regs[reg])[lane], n);
  }

  void write(const Warp& w, const Lanes* regs, bool is_f32) const {
    for (int reg = 0; reg < 2; ++reg) {
      for (int lane = 0; lane < kWarpSize; ++lane) {
        const float* pair = &at[row(lane, reg)][pair_column(lane)];
        if (is_f32) {
          w.at<float>(regs[2 * reg])[lane] = pair[0];
          w.at<float>(regs[2 * reg + 1])[lane] = pair[1];
        } else {
          w.at<uint32_t>(regs[reg])[lane] = uint32_t{narrow<F16>(pair[1])} << 16 | narrow<F16>(pair[0]);
        }
      }
    }
  }
};

// list: registers of D, A, B and C.  mode[0]: D and C are f32.
template <class Format, int depth>
void multiply_accumulate(Warp& w, const Instr& i, LaneMask active) {
  if (!w.gather(i, active, kAllLanes, Finding::kWrongMask)) return;
  const bool is_f32 = i.mode[0];
  const int num_accumulators = is_f32 ? 4 : 2;
  const Lanes* a_regs = i.list + num_accumulators;
  const Lanes* b_regs = a_regs + depth / 4;
  const Lanes* c_regs = b_regs + depth / 8;
  float a[kRows][depth];
  alignas(32) float b[depth][kColumns];
  Accumulator c;
  for (int part = 0; part < depth / 8; ++part) {
    for (int lane = 0; lane < kWarpSize; ++lane) {
      const int k = 8 * part + pair_column(lane);
      for (int n = 0; n < 2; ++n) {
        a[quad(lane)][k + n] = half_of<Format>(w.at<uint32_t>(a_regs[2 * part])[lane], n);
        a[quad(lane) + 8][k + n] = half_of<Format>(w.at<uint32_t>(a_regs[2 * part + 1])[lane], n);
        b[k + n][quad(lane)] = half_of<Format>(w.at<uint32_t>(b_regs[part])[lane], n);
      }
    }
  }
  c.read(w, c_regs, is_f32);
  for (int row = 0; row < kRows; ++row) {
    __m256 sums = _mm256_load_ps(c.at[row]);  // of all columns
    for (int k = 0; k < depth; ++k)
      sums = _mm256_fmadd_ps(_mm256_broadcast_ss(&a[row][k]), _mm256_load_ps(b[k]), sums);
    _mm256_store_ps(c.at[row], sums);
  }
  c.write(w, i.list, is_f32);
  ++w.counters.mma;
}

bool lower_mma(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const auto c_type = m.take_type();
  const auto b_type = m.take_type();
  const auto a_type = m.take_type();
  const auto d_type = m.take_type();
  const int shape = m.take_any({"m16n8k8", "m16n8k16"});
  if (!d_type || !m.take("sync") || !m.take("aligned") || !m.take("row") || !m.take("col") || shape < 0 ||
      !m.empty())
    return false;
  const bool is_f32 = d_type->bits == 32;
  const bool bf16 = a_type->kind == ptx::Kind::kBfloat;
  if (a_type->register_bits() != 16 || *a_type != *b_type || *c_type != *d_type ||
      d_type->kind != ptx::Kind::kFloat || d_type->bits > 32 || (bf16 && !is_f32) || in.operands.size() != 4)
    return false;
  const int depth = shape == 0 ? 8 : 16;
  const size_t sizes[] = {is_f32 ? 4u : 2u, depth / 4u, depth / 8u, is_f32 ? 4u : 2u};
  std::vector<Lanes> list(sizes[0]);
  for (int n = 1; n < 4; ++n) {
    if (in.operands[n].elements.size() != sizes[n]) return false;
    for (const Operand& e : in.operands[n].elements)
      list.push_back(to.use(e, n == 3 ? ptx::Type{ptx::Kind::kFloat, 32} : Lowering::bits_type(32)));
  }
  if (in.operands[0].elements.size() != sizes[0]) return false;
  for (size_t n = 0; n < sizes[0]; ++n) list[n] = to.def(in.operands[0].elements[n], 32);
  Handler handler = bf16 ? multiply_accumulate<Bf16, 16> : multiply_accumulate<F16, 16>;
  if (depth == 8) handler = bf16 ? multiply_accumulate<Bf16, 8> : multiply_accumulate<F16, 8>;
  to.emit(handler).mode[0] = is_f32;
  to.set_list(list);
  return true;
}

// op[0] is the address, of whose lanes each gives a row of 16 bytes; list: imm registers, one for each 8x8
// matrix. mode: space, transposed.
void load_matrix(Warp& w, const Instr& i, LaneMask active) {
  if (!w.gather(i, active, kAllLanes, Finding::kWrongMask)) return;
  constexpr int kMatrixRows = 8;
  WarpAccess a;
  a.active = i.list[0] == 4 ? kAllLanes : (1u << (kMatrixRows * i.list[0])) - 1;
  a.bytes = 16;
  a.whole_warp_reads = true;
  fill_addresses(w, i.op[0], i.imm, a);
  access(w, i, static_cast<Space>(i.mode[0]), a);
  const bool transposed = i.mode[1];
  uint32_t results[4][kWarpSize];
  for (int matrix = 0; matrix < i.list[0]; ++matrix) {
    uint16_t rows[kMatrixRows][kMatrixRows];
    for (int row = 0; row < kMatrixRows; ++row) std::memcpy(rows[row], a.at[matrix * kMatrixRows + row], 16);
    for (int lane = 0; lane < kWarpSize; ++lane) {
      const int r = quad(lane);
      const int c = pair_column(lane);
      const uint16_t low = transposed ? rows[c][r] : rows[r][c];
      const uint16_t high = transposed ? rows[c + 1][r] : rows[r][c + 1];
      results[matrix][lane] = uint32_t{high} << 16 | low;
    }
  }
  for (int matrix = 0; matrix < i.list[0]; ++matrix)
    std::memcpy(w.at<uint32_t>(i.list[1 + matrix]), results[matrix], sizeof(results[matrix]));
}

bool lower_load_matrix(Lowering& to, const ptx::Instruction& in) {
  Modifiers m(in);
  const int size = m.take_any({"x1", "x2", "x4"});
  const bool transposed = m.take("trans");
  const bool shared = m.take_any({"shared", "shared::cta"}) >= 0;
  if (size < 0 || !m.take("sync") || !m.take("aligned") || !m.take("m8n8") || !m.take("b16") || !m.empty())
    return false;
  const std::vector<Operand>& registers = in.operands[0].elements;
  if (registers.size() != size_t{1} << size) return false;
  const Address address = to.address(in.operands[1]);
  std::vector<Lanes> list = {1 << size};
  for (const Operand& r : registers) list.push_back(to.def(r, 32));
  Instr& i = to.emit(load_matrix, Nature::kEffect);
  i.op = {address.base};
  i.imm = address.displacement;
  i.mode = {static_cast<uint8_t>(shared ? Space::kShared : Space::kGeneric), transposed};
  to.set_list(list);
  return true;
}

}  // namespace

bool lower_matrix(Lowering& to, const ptx::Instruction& in) {
  if (in.opcode == "mma") return lower_mma(to, in);
  if (in.opcode == "ldmatrix") return lower_load_matrix(to, in);
  return false;
}

}  // namespace trireme::vgpu
