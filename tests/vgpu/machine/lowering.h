#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tests/vgpu/machine/kernel.h"
#include "tests/vgpu/ptx/module.h"

namespace trireme::vgpu {

// The modifiers of an instruction that is being understood: whoever understands one takes it, and what is
// left at the end is refused by name.
class Modifiers {
 public:
  explicit Modifiers(const ptx::Instruction& in) : names_(in.modifiers) {}

  // Takes the modifier if it is there.
  bool take(std::string_view name);
  // Takes whichever of them is there: its index, or -1.
  int take_any(std::initializer_list<std::string_view> names);
  // Takes the last modifier, if it is a type.
  std::optional<ptx::Type> take_type();
  // Takes those that only hint at caches: .L1::no_allocate, .L2::128B, ...
  void take_cache_hints();
  bool empty() const { return names_.empty(); }

 private:
  std::vector<std::string_view> names_;
};

// An address operand: [base + displacement].
struct Address {
  Lanes base = 0;
  int64_t displacement = 0;
  ptx::Space space = ptx::Space::kGeneric;  // of the variable, if the base is one
};

// What an instruction does to somebody else, which decides how an undefined operand is treated: a pure one
// makes its results undefined, an effect must not depend on it.
enum class Nature { kPure, kSelect, kEffect };

// Translates one kernel.  An instruction family asks it for the lanes of the operands, in any order, and then
// emits the Instr; everything asked for since the last emit() belongs to that Instr.
class Lowering {
 public:
  Lowering(const ptx::Module& module, const ptx::Function& entry);

  Kernel lower();

  // --- For instruction families. ---

  // The lanes of a source; immediates and addresses of variables become constants of `bits` bits.
  // Floating-point immediates are converted to `type`.
  Lanes use(const ptx::Operand& operand, ptx::Type type);
  // Sources of which only the width is known.
  Lanes use(const ptx::Operand& operand, int bits) { return use(operand, bits_type(bits)); }
  Lanes use_predicate(const ptx::Operand& operand, bool& negated);
  Lanes def(const ptx::Operand& operand, int bits);
  Lanes def_predicate(const ptx::Operand& operand);
  // Where a result goes that nobody wants.
  Lanes sink(int bits);
  // A register that the PTX doesn't know of: written by the Instr that is emitted next, read by a later one.
  Lanes temporary(int bits);
  Lanes use_temporary(Lanes temporary);
  // The condition code that add.cc and its like set.
  Lanes carry();
  // Lanes that all hold the same value.
  Lanes constant(uint64_t value, int bits);
  Address address(const ptx::Operand& operand);
  // The width of a register operand; `otherwise` for an immediate.
  int register_bits(const ptx::Operand& operand, int otherwise) const;
  bool is_register(const ptx::Operand& operand) const;
  bool is_predicate(const ptx::Operand& operand) const;

  // The reference is good until the next emit().
  Instr& emit(Handler handler, Nature nature = Nature::kPure);
  // The Instr jumps to the label (if it executes at all).
  void branch_to(const ptx::Operand& label);
  // A list of possible targets, as brx.idx wants it in Instr::list.
  void branch_to_any(std::string_view targets);
  // The Instr never continues with the next one.
  void end_of_path();
  void set_list(const std::vector<Lanes>& list);
  // Copies the body of the function here.
  void inline_call(const ptx::Function& function, const std::vector<ptx::Operand>& results,
                   const std::vector<ptx::Operand>& arguments);
  // The offset in local memory of a `.param` variable that a call passes.
  uint64_t call_parameter(const ptx::Operand& operand);
  // Whether the instruction is of a function inlined into the kernel; its `ret` is a branch to its end.
  bool is_inlined() const { return frames_.size() > 1; }
  void branch_to_end_of_function();

  const ptx::Module& module() const { return module_; }
  [[noreturn]] void fail(const std::string& what) const;

  static ptx::Type bits_type(int bits) { return {ptx::Kind::kBits, static_cast<uint8_t>(bits)}; }

 private:
  // A variable as the code sees it.
  struct Place {
    ptx::Space space = ptx::Space::kGlobal;
    uint64_t offset = 0;      // in shared, local or parameter memory
    bool is_dynamic = false;  // shared memory whose size the launch gives; lies behind all else
  };
  // A function being lowered: the kernel, or a copy of a function inlined into it.
  struct Frame {
    const ptx::Function* function = nullptr;
    std::vector<std::unordered_map<std::string_view, Lanes>> registers;  // by scope
    std::unordered_map<std::string_view, Place> parameters;
    std::unordered_map<const ptx::Variable*, Place> variables;  // declared in the body
    size_t first_label = 0;  // labels_[first_label + i] is where its instruction i begins
    size_t end_label = 0;
  };
  // What the search for undefined registers wants to know of an Instr.
  struct Flow {
    std::vector<Lanes> uses;
    std::vector<Lanes> defs;
    std::vector<size_t> targets;  // labels
    bool falls_through = true;
    Nature nature = Nature::kPure;
  };

  void lay_out_parameters(Frame& frame);
  void lower_function(Frame& frame);
  void lower_instruction(const ptx::Instruction& in);
  const ptx::Type* find_register(std::string_view name, int& scope) const;
  std::optional<Lanes> register_lanes(std::string_view name, ptx::Type& type);
  std::optional<Place> find_variable(std::string_view name);
  std::optional<Place> find_scoped_variable(std::string_view name);
  Place place(const ptx::Variable& variable);
  Lanes symbol(std::string_view name, int64_t addend, int bits, ptx::Space* space);
  Lanes new_constant(int bits);
  Lanes allocate_register(int bits);
  uint64_t allocate_local(uint64_t bytes, uint64_t alignment);
  size_t label(std::string_view name) const;

  // undefined.cpp: inserts the instructions that track undefined registers, where there may be any.
  using Masks = std::unordered_map<Lanes, Lanes>;  // register -> mask of its undefined lanes
  void track_undefined();
  std::vector<Lanes> find_undefined() const;
  Masks allocate_masks();
  std::vector<Instr> tracking(const Instr& instr, const Flow& flow, const Masks& masks);
  void resolve_labels();

  const ptx::Module& module_;
  const ptx::Function& entry_;
  Kernel kernel_;
  std::vector<Flow> flows_;  // beside kernel_.code
  Flow pending_;
  std::vector<size_t> labels_;                  // -> index into kernel_.code
  std::vector<std::unique_ptr<Frame>> frames_;  // innermost last
  const ptx::Instruction* current_ = nullptr;
  struct Constant {
    Lanes lanes;
    int bits;
    uint64_t value;
    bool is_dynamic_shared;  // the value counts from the start of dynamic shared memory
  };
  std::vector<Constant> constants_;
  std::map<std::pair<uint64_t, int>, Lanes> constant_by_value_;
  Lanes next_constant_;  // grows downwards
  uint32_t next_register_;
  uint32_t next_predicate_ = 0;  // predicates share slots
  std::optional<Lanes> carry_;
  std::unordered_map<const ptx::Variable*, Place> places_;  // of the module's shared variables
};

// What every instruction family offers: lowers the instruction, or returns false if it is not of this family.
// Refuses it (Lowering::fail) if it is, but in a form that the family doesn't know.
using Family = bool (*)(Lowering& to, const ptx::Instruction& in);

}  // namespace trireme::vgpu
