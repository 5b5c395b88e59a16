#include "tests/vgpu/machine/lowering.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tests/vgpu/instructions/control.h"
#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/report.h"

namespace trireme::vgpu {
namespace {

using ptx::Operand;
using ptx::Space;

constexpr Family kFamilies[] = {lower_memory,  lower_logic,   lower_integer,   lower_float, lower_half,
                                lower_compare, lower_convert, lower_control,   lower_warp,  lower_matrix,
                                lower_atomic,  lower_call,    lower_async_copy};

constexpr uint64_t kDynamicSharedAlignment = 16;
constexpr size_t kDeepestInlining = 64;

uint64_t round_up(uint64_t x, uint64_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

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

bool Modifiers::take(std::string_view name) {
  const auto found = std::find(names_.begin(), names_.end(), name);
  if (found == names_.end()) return false;
  names_.erase(found);
  return true;
}

int Modifiers::take_any(std::initializer_list<std::string_view> names) {
  int index = 0;
  for (const std::string_view name : names) {
    if (take(name)) return index;
    ++index;
  }
  return -1;
}

std::optional<ptx::Type> Modifiers::take_type() {
  if (names_.empty()) return std::nullopt;
  const auto type = ptx::type_by_name(names_.back());
  if (type) names_.pop_back();
  return type;
}

bool Modifiers::take_cache_hints() {
  const bool has_policy = take("L2::cache_hint");
  std::erase_if(names_, [](std::string_view n) {
    return n.starts_with("L1::") || n.starts_with("L2::") || n == "ca" || n == "cg" || n == "cs" ||
           n == "lu" || n == "cv" || n == "wb" || n == "wt";
  });
  return has_policy;
}

Lowering::Lowering(const ptx::Module& module, const ptx::Function& entry)
    : module_(module),
      entry_(entry),
      next_constant_(-kSlotBytes * static_cast<int>(BlockSlot::kCount)),
      next_register_(kSlotBytes * static_cast<int>(WarpSlot::kCount)) {}

void Lowering::fail(const std::string& what) const {
  std::string place;
  if (current_) place = text("PTX line ", current_->line, ", '", module_.line(current_->line), "': ");
  refuse(text(place, what, " (kernel ", demangled(std::string(entry_.name)), ")"));
}

Kernel Lowering::lower() {
  kernel_.name = std::string(entry_.name);
  kernel_.readable_name = demangled(kernel_.name);
  kernel_.module = &module_;
  kernel_.required_threads = entry_.required_threads;
  if (entry_.max_threads) kernel_.max_threads = entry_.max_threads;
  if (entry_.required_threads) kernel_.max_threads = entry_.required_threads;
  frames_.push_back(std::make_unique<Frame>());
  Frame& frame = *frames_.back();
  frame.function = &entry_;
  lay_out_parameters(frame);
  lower_function(frame);
  current_ = nullptr;
  kernel_.statements.push_back({entry_.line, -1});
  emit(exit_handler());  // in case that the text has no ret
  end_of_path();
  track_undefined();
  resolve_labels();

  kernel_.shared_bytes = static_cast<uint32_t>(round_up(kernel_.shared_bytes, kDynamicSharedAlignment));
  kernel_.register_bytes = static_cast<uint32_t>(round_up(next_register_, kSlotBytes));
  kernel_.constants.resize(-next_constant_);
  for (const Constant& c : constants_) {
    const uint64_t value = c.value + (c.is_dynamic_shared ? kernel_.shared_bytes : 0);
    uint8_t* lanes = kernel_.constants.data() + kernel_.constants.size() + c.lanes;
    for (int l = 0; l < kWarpSize; ++l) std::memcpy(lanes + l * c.bits / 8, &value, c.bits / 8);
  }
  return std::move(kernel_);
}

void Lowering::lay_out_parameters(Frame& frame) {
  for (const ptx::Variable& p : entry_.parameters) {
    const uint64_t offset = round_up(kernel_.parameter_bytes, p.alignment);
    frame.parameters[p.name] = {Space::kParam, offset};
    kernel_.parameters.push_back({static_cast<uint32_t>(offset), static_cast<uint32_t>(p.bytes)});
    kernel_.parameter_bytes = static_cast<uint32_t>(offset + p.bytes);
  }
}

void Lowering::lower_function(Frame& frame) {
  const ptx::Function& function = *frame.function;
  frame.registers.resize(function.scopes.size());
  frame.first_label = labels_.size();
  frame.end_label = frame.first_label + function.instructions.size();
  labels_.resize(frame.end_label + 1);
  for (size_t i = 0; i < function.instructions.size(); ++i) {
    labels_[frame.first_label + i] = kernel_.code.size();
    lower_instruction(function.instructions[i]);
  }
  labels_[frame.end_label] = kernel_.code.size();
}

void Lowering::lower_instruction(const ptx::Instruction& in) {
  const ptx::Instruction* const caller = current_;
  current_ = &in;
  kernel_.statements.push_back({in.line, in.location});
  for (const Family& family : kFamilies) {
    if (family(*this, in)) {
      current_ = caller;
      return;
    }
  }
  fail(text("unknown instruction ", in.spelling));
}

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

Instr& Lowering::emit(Handler handler, Nature nature) {
  Instr instr;
  instr.run = handler;
  instr.statement = static_cast<uint32_t>(kernel_.statements.size() - 1);
  instr.guard = lanes_of(BlockSlot::kTrue);
  if (current_ && !current_->guard.empty()) {
    Operand guard;
    guard.name = current_->guard;
    guard.negated = current_->guard_negated;
    bool negated = false;
    instr.guard = use_predicate(guard, negated);
    instr.guard_flip = negated ? kAllLanes : 0;
    pending_.uses.pop_back();  // checked by itself: Instr::guard
  }
  pending_.nature = nature;
  flows_.push_back(std::move(pending_));
  pending_ = Flow();
  kernel_.code.push_back(instr);
  return kernel_.code.back();
}

size_t Lowering::label(std::string_view name) const {
  const Frame& frame = *frames_.back();
  const auto& scopes = frame.function->scopes;
  for (int scope = current_->scope; scope >= 0; scope = scopes[scope].parent) {
    const auto found = scopes[scope].labels.find(name);
    if (found != scopes[scope].labels.end()) return frame.first_label + found->second;
  }
  fail(text("no label ", name));
}

void Lowering::branch_to(const Operand& target) {
  flows_.back().targets = {label(target.name)};
  flows_.back().falls_through = kernel_.code.back().guard != lanes_of(BlockSlot::kTrue);
}

void Lowering::branch_to_any(std::string_view targets) {
  const auto& scopes = frames_.back()->function->scopes;
  for (int scope = current_->scope; scope >= 0; scope = scopes[scope].parent) {
    const auto found = scopes[scope].branch_targets.find(targets);
    if (found == scopes[scope].branch_targets.end()) continue;
    std::vector<Lanes> list;
    for (const std::string_view name : found->second) {
      flows_.back().targets.push_back(label(name));
      list.push_back(static_cast<Lanes>(label(name)));
    }
    kernel_.code.back().imm = static_cast<int64_t>(list.size());
    set_list(list);
    flows_.back().falls_through = kernel_.code.back().guard != lanes_of(BlockSlot::kTrue);
    return;
  }
  fail(text("no list of targets ", targets));
}

void Lowering::branch_to_end_of_function() {
  flows_.back().targets = {frames_.back()->end_label};
  flows_.back().falls_through = kernel_.code.back().guard != lanes_of(BlockSlot::kTrue);
}

void Lowering::end_of_path() {
  flows_.back().falls_through = kernel_.code.back().guard != lanes_of(BlockSlot::kTrue);
}

void Lowering::set_list(const std::vector<Lanes>& list) {
  kernel_.lists.push_back(list);
  kernel_.code.back().list = kernel_.lists.back().data();
}

uint64_t Lowering::call_parameter(const Operand& operand) {
  const auto found = find_scoped_variable(operand.name);
  if (!found || found->space != Space::kLocal) fail(text("'", operand.name, "' is no parameter of a call"));
  return found->offset;
}

void Lowering::inline_call(const ptx::Function& function, const std::vector<Operand>& results,
                           const std::vector<Operand>& arguments) {
  if (!current_->guard.empty()) fail("a call under a predicate");
  if (results.size() != function.results.size() || arguments.size() != function.parameters.size())
    fail(text("a call of ", function.name, " with another number of parameters"));
  if (frames_.size() > kDeepestInlining ||
      std::any_of(frames_.begin(), frames_.end(), [&](const auto& f) { return f->function == &function; }))
    fail(text("recursion in ", demangled(std::string(function.name))));
  auto frame = std::make_unique<Frame>();
  frame->function = &function;
  const auto bind = [&](const std::vector<ptx::Variable>& formal, const std::vector<Operand>& actual) {
    for (size_t i = 0; i < formal.size(); ++i)
      frame->parameters[formal[i].name] = {Space::kLocal, call_parameter(actual[i])};
  };
  bind(function.results, results);
  bind(function.parameters, arguments);
  frames_.push_back(std::move(frame));
  lower_function(*frames_.back());
  frames_.pop_back();
}

void Lowering::resolve_labels() {
  for (size_t i = 0; i < kernel_.code.size(); ++i) {
    Instr& instr = kernel_.code[i];
    if (flows_[i].targets.empty()) continue;
    if (!instr.list) {
      instr.imm = static_cast<int64_t>(labels_[flows_[i].targets[0]]);
      continue;
    }
    const auto list = std::find_if(kernel_.lists.begin(), kernel_.lists.end(),
                                   [&](const auto& l) { return l.data() == instr.list; });
    for (Lanes& target : *list) target = static_cast<Lanes>(labels_[target]);
  }
}

}  // namespace trireme::vgpu
