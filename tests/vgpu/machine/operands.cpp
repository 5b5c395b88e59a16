// What the operands of an instruction are: registers, constants, variables, addresses.
#include <algorithm>
#include <bit>

#include "tests/vgpu/instructions/control.h"
#include "tests/vgpu/machine/lowering.h"
#include "tests/vgpu/report.h"

namespace trireme::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;

int lane_bytes(int bits) {
  return kWarpSize * std::max(bits, 16) / 8;
}
const std::unordered_map<std::string_view, Lanes>& special_registers() {
  static const std::unordered_map<std::string_view, Lanes> names = {
      {"%tid.x", lanes_of(WarpSlot::kTidX)},
      {"%tid.y", lanes_of(WarpSlot::kTidY)},
      {"%tid.z", lanes_of(WarpSlot::kTidZ)},
      {"%laneid", lanes_of(WarpSlot::kLaneid)},
      {"%warpid", lanes_of(WarpSlot::kWarpid)},
      {"%lanemask_eq", lanes_of(WarpSlot::kMaskEq)},
      {"%lanemask_le", lanes_of(WarpSlot::kMaskLe)},
      {"%lanemask_lt", lanes_of(WarpSlot::kMaskLt)},
      {"%lanemask_ge", lanes_of(WarpSlot::kMaskGe)},
      {"%lanemask_gt", lanes_of(WarpSlot::kMaskGt)},
      {"%ctaid.x", lanes_of(BlockSlot::kCtaidX)},
      {"%ctaid.y", lanes_of(BlockSlot::kCtaidY)},
      {"%ctaid.z", lanes_of(BlockSlot::kCtaidZ)},
      {"%nctaid.x", lanes_of(BlockSlot::kNctaidX)},
      {"%nctaid.y", lanes_of(BlockSlot::kNctaidY)},
      {"%nctaid.z", lanes_of(BlockSlot::kNctaidZ)},
      {"%ntid.x", lanes_of(BlockSlot::kNtidX)},
      {"%ntid.y", lanes_of(BlockSlot::kNtidY)},
      {"%ntid.z", lanes_of(BlockSlot::kNtidZ)},
      {"%nwarpid", lanes_of(BlockSlot::kNwarpid)},
      {"%smid", lanes_of(BlockSlot::kSmid)},
      {"%nsmid", lanes_of(BlockSlot::kNsmid)},
      {"%dynamic_smem_size", lanes_of(BlockSlot::kDynamicSharedBytes)},
      {"%total_smem_size", lanes_of(BlockSlot::kTotalSharedBytes)},
  };
  return names;
}

}  // namespace

const ptx::Type* Lowering::find_register(std::string_view name, int& scope) const {
  const auto& scopes = frames_.back()->function->scopes;
  const std::string key(name);
  for (scope = current_->scope; scope >= 0; scope = scopes[scope].parent) {
    const auto found = scopes[scope].registers.find(key);
    if (found != scopes[scope].registers.end()) return &found->second;
  }
  return nullptr;
}

std::optional<Lanes> Lowering::register_lanes(std::string_view name, ptx::Type& type) {
  int scope = 0;
  const ptx::Type* found = find_register(name, scope);
  if (!found) return std::nullopt;
  type = *found;
  const auto [entry, is_new] = frames_.back()->registers[scope].try_emplace(name, 0);
  if (is_new)
    entry->second = allocate_register(type.kind == ptx::Kind::kPredicate ? 1 : type.register_bits());
  return entry->second;
}

Lanes Lowering::allocate_register(int bits) {
  constexpr uint32_t kAlignment = 64;
  if (bits == 1) {
    if (next_predicate_ % kSlotBytes == 0) {
      next_predicate_ = static_cast<uint32_t>(round_up(next_register_, kSlotBytes));
      next_register_ = next_predicate_ + kSlotBytes;
    }
    const Lanes result = static_cast<Lanes>(next_predicate_);
    next_predicate_ += sizeof(LaneMask);
    return result;
  }
  const uint64_t begin = round_up(next_register_, kAlignment);
  next_register_ = static_cast<uint32_t>(begin + lane_bytes(bits));
  return static_cast<Lanes>(begin);
}

Lanes Lowering::use(const Operand& operand, ptx::Type type) {
  const int bits = type.register_bits();
  switch (operand.form) {
    case Operand::Form::kName: {
      ptx::Type declared;
      if (const auto lanes = register_lanes(operand.name, declared)) {
        if (declared.kind == ptx::Kind::kPredicate || declared.register_bits() != bits)
          fail(text(operand.name, " is not a register of ", bits, " bits"));
        pending_.uses.push_back(*lanes);
        return *lanes;
      }
      const auto special = special_registers().find(operand.name);
      if (special != special_registers().end()) {
        if (bits != 32) fail(text(operand.name, " read as ", bits, " bits"));
        return special->second;
      }
      if (operand.name == "WARP_SZ") return constant(kWarpSize, bits);
      return symbol(operand.name, operand.displacement, bits, nullptr);
    }
    case Operand::Form::kInteger:
      return constant(operand.bits, bits);
    case Operand::Form::kFloat32:
      if (bits == 64)
        return constant(std::bit_cast<uint64_t>(double{std::bit_cast<float>(uint32_t(operand.bits))}), 64);
      return constant(operand.bits, bits);
    case Operand::Form::kFloat64:
      if (bits == 64) return constant(operand.bits, 64);
      if (bits == 32)
        return constant(std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(operand.bits))), 32);
      [[fallthrough]];
    default:
      fail("an operand of an unknown form");
  }
}

Lanes Lowering::use_predicate(const Operand& operand, bool& negated) {
  ptx::Type declared;
  const auto lanes = register_lanes(operand.name, declared);
  if (!lanes || declared.kind != ptx::Kind::kPredicate) {
    if (operand.form != Operand::Form::kInteger) fail(text(operand.name, " is no predicate"));
    negated = operand.bits == 0;
    return lanes_of(BlockSlot::kTrue);
  }
  negated = operand.negated;
  pending_.uses.push_back(*lanes);
  return *lanes;
}

Lanes Lowering::def(const Operand& operand, int bits) {
  if (operand.form == Operand::Form::kSink) return sink(bits);
  ptx::Type declared;
  const auto lanes = register_lanes(operand.name, declared);
  if (!lanes || declared.kind == ptx::Kind::kPredicate || declared.register_bits() != bits)
    fail(text("'", operand.name, "' is not a register of ", bits, " bits"));
  pending_.defs.push_back(*lanes);
  return *lanes;
}

Lanes Lowering::def_predicate(const Operand& operand) {
  if (operand.form == Operand::Form::kSink) return sink(1);
  ptx::Type declared;
  const auto lanes = register_lanes(operand.name, declared);
  if (!lanes || declared.kind != ptx::Kind::kPredicate) fail(text("'", operand.name, "' is no predicate"));
  pending_.defs.push_back(*lanes);
  return *lanes;
}

Lanes Lowering::sink(int bits) {
  return allocate_register(bits);
}

Lanes Lowering::temporary(int bits) {
  pending_.defs.push_back(allocate_register(bits));
  return pending_.defs.back();
}

Lanes Lowering::use_temporary(Lanes temporary) {
  pending_.uses.push_back(temporary);
  return temporary;
}

Lanes Lowering::carry() {
  if (!carry_) carry_ = allocate_register(1);
  return *carry_;
}

Lanes Lowering::new_constant(int bits) {
  return next_constant_ -= static_cast<Lanes>(round_up(lane_bytes(bits), 64));
}

Lanes Lowering::constant(uint64_t value, int bits) {
  if (bits < 64) value &= (1ull << bits) - 1;
  const auto [entry, is_new] = constant_by_value_.try_emplace({value, bits}, 0);
  if (is_new) {
    entry->second = new_constant(bits);
    constants_.push_back({entry->second, std::max(bits, 16), value, false});
  }
  return entry->second;
}

std::optional<Lowering::Place> Lowering::find_scoped_variable(std::string_view name) {
  Frame& frame = *frames_.back();
  const auto& scopes = frame.function->scopes;
  for (int scope = current_->scope; scope >= 0; scope = scopes[scope].parent) {
    const auto found = scopes[scope].variables.find(name);
    if (found == scopes[scope].variables.end()) continue;
    const auto [entry, is_new] = frame.variables.try_emplace(&found->second);
    if (is_new) entry->second = place(found->second);
    return entry->second;
  }
  return std::nullopt;
}

std::optional<Lowering::Place> Lowering::find_variable(std::string_view name) {
  if (const auto scoped = find_scoped_variable(name)) return scoped;
  const Frame& frame = *frames_.back();
  if (const auto found = frame.parameters.find(name); found != frame.parameters.end()) return found->second;
  for (const ptx::Variable& v : module_.variables) {
    if (v.name != name) continue;
    const auto [entry, is_new] = places_.try_emplace(&v);
    if (is_new) entry->second = place(v);
    return entry->second;
  }
  return std::nullopt;
}

Lowering::Place Lowering::place(const ptx::Variable& v) {
  if (v.space == Space::kShared) {
    if (v.is_extern || v.bytes == 0) return {Space::kShared, 0, true};
    const uint64_t offset = round_up(kernel_.shared_bytes, v.alignment);
    kernel_.shared_bytes = static_cast<uint32_t>(offset + v.bytes);
    return {Space::kShared, offset};
  }
  if (v.space == Space::kLocal || v.space == Space::kParam)  // a parameter of a call
    return {Space::kLocal, allocate_local(v.bytes, v.alignment)};
  return {v.space, 0};
}

uint64_t Lowering::allocate_local(uint64_t bytes, uint64_t alignment) {
  constexpr uint64_t kLargestAlignment = 16;
  const uint64_t offset = round_up(kernel_.local_bytes, alignment);
  kernel_.local_bytes = static_cast<uint32_t>(round_up(offset + bytes, kLargestAlignment));
  return offset;
}

Lanes Lowering::symbol(std::string_view name, int64_t addend, int bits, Space* space) {
  const auto found = find_variable(name);
  if (!found) fail(text("'", name, "' is neither a register nor a variable"));
  if (space) *space = found->space;
  if (found->space == Space::kGlobal || found->space == Space::kConst) {
    if (bits != 64) fail(text("the address of ", name, " in ", bits, " bits"));
    const Lanes lanes = new_constant(64);
    kernel_.relocations.push_back({lanes, name, addend});
    return lanes;
  }
  if (!found->is_dynamic) return constant(found->offset + addend, bits);
  const Lanes lanes = new_constant(bits);
  constants_.push_back({lanes, bits, static_cast<uint64_t>(addend), true});
  return lanes;
}

Address Lowering::address(const Operand& operand) {
  if (operand.form != Operand::Form::kAddress) fail("an address expected");
  if (operand.name.empty()) return {constant(0, 64), operand.displacement};
  ptx::Type declared;
  if (const auto lanes = register_lanes(operand.name, declared)) {
    if (declared.register_bits() == 64) {
      pending_.uses.push_back(*lanes);
      return {*lanes, operand.displacement};
    }
    if (declared.register_bits() != 32) fail(text(operand.name, " as an address"));
    // The wider copy has no register of its own in PTX.
    Flow of_the_access;
    std::swap(of_the_access, pending_);
    pending_.uses = {*lanes};
    const Lanes wide = temporary(64);
    emit(widen_handler()).op = {wide, *lanes};
    pending_ = std::move(of_the_access);
    return {use_temporary(wide), operand.displacement};
  }
  Address result;
  result.base = symbol(operand.name, 0, 64, &result.space);
  result.displacement = operand.displacement;
  return result;
}

int Lowering::register_bits(const Operand& operand, int otherwise) const {
  int scope = 0;
  const ptx::Type* type = operand.form == Operand::Form::kName ? find_register(operand.name, scope) : nullptr;
  if (type) return type->register_bits();
  return operand.form == Operand::Form::kName && special_registers().contains(operand.name) ? 32 : otherwise;
}

bool Lowering::is_register(const Operand& operand) const {
  int scope = 0;
  return operand.form == Operand::Form::kName && find_register(operand.name, scope);
}

bool Lowering::is_predicate(const Operand& operand) const {
  int scope = 0;
  const ptx::Type* type = operand.form == Operand::Form::kName ? find_register(operand.name, scope) : nullptr;
  return type && type->kind == ptx::Kind::kPredicate;
}

uint64_t Lowering::call_parameter(const Operand& operand) {
  const auto found = find_scoped_variable(operand.name);
  if (!found || found->space != Space::kLocal) fail(text("'", operand.name, "' is no parameter of a call"));
  return found->offset;
}

}  // namespace trireme::vgpu
