#include "tests/vgpu/machine/lowering.h"

#include <algorithm>
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

void Modifiers::take_cache_hints() {
  std::erase_if(names_, [](std::string_view n) {
    return n.starts_with("L1::") || n.starts_with("L2::") || n == "ca" || n == "cg" || n == "cs" ||
           n == "lu" || n == "cv" || n == "wb" || n == "wt";
  });
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
