// atom, red.
#include <algorithm>
#include <atomic>
#include <bit>

#include "tests/vgpu/instructions/access.h"
#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/instructions/formats.h"
#include "tests/vgpu/instructions/lanes.h"

namespace trireme::vgpu {
namespace {

using ptx::Kind;
using ptx::Space;

// For atom and red: op[0] is the old value, op[1] the address, op[2] and op[3] the operands, imm the
// displacement.
enum Mode { kSpace, kFence };

// Replaces old by f(old, operand, second operand), as nobody else looks.
template <class T, auto f>
void atomic(Warp& w, const Instr& i, LaneMask active) {
  WarpAccess a;
  a.active = active;
  a.bytes = sizeof(T);
  a.kind = Access::kSyncWrite;
  fill_addresses(w, i.op[1], i.imm, a);
  const Space space = static_cast<Space>(i.mode[kSpace]);
  publish_to_blocks(w, a, space, i.mode[kFence]);
  access(w, i, space, a);
  T* result = w.at<T>(i.op[0]);
  const T* b = w.at<T>(i.op[2]);
  const T* c = w.at<T>(i.op[3]);
  T olds[kWarpSize];
  for_each_lane(active, [&](int lane) {
    std::atomic_ref<T> memory(*reinterpret_cast<T*>(a.at[lane]));
    olds[lane] = memory.load();
    while (!memory.compare_exchange_weak(olds[lane], f(olds[lane], b[lane], c[lane]))) {
    }
  });
  take_over_from_blocks(w, a, space);
  for_each_lane(active, [&](int lane) { result[lane] = olds[lane]; });
}

template <class F>
F as(auto bits) {
  return std::bit_cast<F>(bits);
}

template <class T>
constexpr auto kAdd = [](T old, T b, T) { return static_cast<T>(old + b); };
template <class T, class F>
constexpr auto kAddFloat = [](T old, T b, T) { return as<T>(as<F>(old) + as<F>(b)); };
template <class T>
constexpr auto kAnd = [](T old, T b, T) { return old & b; };
template <class T>
constexpr auto kOr = [](T old, T b, T) { return old | b; };
template <class T>
constexpr auto kXor = [](T old, T b, T) { return old ^ b; };
template <class T>
constexpr auto kExchange = [](T, T b, T) { return b; };
template <class T>
constexpr auto kCompareAndSwap = [](T old, T expected, T value) { return old == expected ? value : old; };
template <class T, class S>
constexpr auto kMin =
    [](T old, T b, T) { return static_cast<T>(std::min(static_cast<S>(old), static_cast<S>(b))); };
template <class T, class S>
constexpr auto kMax =
    [](T old, T b, T) { return static_cast<T>(std::max(static_cast<S>(old), static_cast<S>(b))); };
constexpr auto kIncrement = [](uint32_t old, uint32_t limit, uint32_t) { return old >= limit ? 0 : old + 1; };
constexpr auto kDecrement = [](uint32_t old, uint32_t limit, uint32_t) {
  return old == 0 || old > limit ? limit : old - 1;
};
template <class Format>
constexpr auto kAddHalf = [](uint16_t old, uint16_t b, uint16_t) {
  return narrow<Format>(add_to_odd(widen<Format>(old), widen<Format>(b)));
};
template <class Format>
constexpr auto kAddHalf2 = [](uint32_t old, uint32_t b, uint32_t) {
  const auto low = kAddHalf<Format>(static_cast<uint16_t>(old), static_cast<uint16_t>(b), 0);
  const auto high = kAddHalf<Format>(static_cast<uint16_t>(old >> 16), static_cast<uint16_t>(b >> 16), 0);
  return uint32_t{high} << 16 | low;
};

template <class T>
Handler pick_bits(std::string_view op) {
  if (op == "and") return atomic<T, kAnd<T>>;
  if (op == "or") return atomic<T, kOr<T>>;
  if (op == "xor") return atomic<T, kXor<T>>;
  if (op == "exch") return atomic<T, kExchange<T>>;
  if (op == "cas") return atomic<T, kCompareAndSwap<T>>;
  return nullptr;
}

template <class T, class S>
Handler pick_integer(std::string_view op) {
  if (op == "add") return atomic<T, kAdd<T>>;
  if (op == "min") return atomic<T, kMin<T, S>>;
  if (op == "max") return atomic<T, kMax<T, S>>;
  return pick_bits<T>(op);
}

Handler pick(std::string_view op, ptx::Type type) {
  const bool is_signed = type.kind == Kind::kSigned;
  if (type.kind == Kind::kFloat && op == "add") {
    if (type.packed == 2) return atomic<uint32_t, kAddHalf2<F16>>;
    if (type.bits == 16) return atomic<uint16_t, kAddHalf<F16>>;
    return type.bits == 32 ? atomic<uint32_t, kAddFloat<uint32_t, float>>
                           : atomic<uint64_t, kAddFloat<uint64_t, double>>;
  }
  if (type.kind == Kind::kBfloat && op == "add")
    return type.packed == 2 ? atomic<uint32_t, kAddHalf2<Bf16>> : atomic<uint16_t, kAddHalf<Bf16>>;
  if (!type.is_integer()) return nullptr;
  if (type.bits == 16) return op == "cas" || op == "exch" ? pick_bits<uint16_t>(op) : nullptr;
  if (type.bits == 32) {
    if (op == "inc") return atomic<uint32_t, kIncrement>;
    if (op == "dec") return atomic<uint32_t, kDecrement>;
    return is_signed ? pick_integer<uint32_t, int32_t>(op) : pick_integer<uint32_t, uint32_t>(op);
  }
  if (type.bits == 64)
    return is_signed ? pick_integer<uint64_t, int64_t>(op) : pick_integer<uint64_t, uint64_t>(op);
  return nullptr;
}

}  // namespace

bool lower_atomic(Lowering& to, const ptx::Instruction& in) {
  const bool has_result = in.opcode == "atom";
  if (!has_result && in.opcode != "red") return false;
  Modifiers m(in);
  const auto type = m.take_type();
  const bool fence = m.take_any({"acq_rel", "release", "acquire"}) >= 0;
  m.take("relaxed");
  m.take("noftz");
  m.take_any({"cta", "cluster", "gpu", "sys"});
  Space space = Space::kGeneric;
  if (m.take("global")) space = Space::kGlobal;
  if (m.take_any({"shared", "shared::cta"}) >= 0) space = Space::kShared;
  m.take_cache_hints();
  std::string_view op;
  for (const std::string_view name : {"add", "and", "or", "xor", "exch", "cas", "min", "max", "inc", "dec"})
    if (m.take(name)) op = name;
  const size_t first = has_result ? 1 : 0;
  const size_t num_operands = op == "cas" ? 2 : 1;
  const Handler handler = type ? pick(op, *type) : nullptr;
  if (!handler || !m.empty() || in.operands.size() != first + 1 + num_operands) return false;
  const int bits = type->register_bits();
  const Address address = to.address(in.operands[first]);
  const Lanes b = to.use(in.operands[first + 1], bits);
  const Lanes c = op == "cas" ? to.use(in.operands[first + 2], bits) : b;
  const Lanes result = has_result ? to.def(in.operands[0], bits) : to.sink(bits);
  Instr& i = to.emit(handler, Nature::kEffect);
  i.op = {result, address.base, b, c};
  i.imm = address.displacement;
  i.mode[kSpace] = static_cast<uint8_t>(space);
  i.mode[kFence] = fence;
  return true;
}

}  // namespace trireme::vgpu
