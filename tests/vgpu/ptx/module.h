#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace trireme::vgpu::ptx {

enum class Space : uint8_t { kGeneric, kGlobal, kShared, kLocal, kConst, kParam };

enum class Kind : uint8_t { kBits, kUnsigned, kSigned, kFloat, kBfloat, kPredicate };

// A PTX type: `bits` of one element, `packed` elements side by side (2 in f16x2).
struct Type {
  Kind kind = Kind::kBits;
  uint8_t bits = 0;
  uint8_t packed = 1;

  int register_bits() const { return bits * packed; }
  bool is_integer() const { return kind == Kind::kBits || kind == Kind::kUnsigned || kind == Kind::kSigned; }
  bool operator==(const Type&) const = default;
};

// "f32" -> its type; nothing if the name is none.
std::optional<Type> type_by_name(std::string_view name);

struct Operand {
  enum class Form : uint8_t {
    kName,     // a register, special register, variable, label or function
    kInteger,  // bits
    kFloat32,  // bits, given as 0f...
    kFloat64,  // bits, given as 0d... or as a decimal
    kAddress,  // [name + displacement] or [displacement]
    kVector,   // {elements}, also the parenthesised lists of a call
    kPair,     // elements[0]|elements[1]
    kSink,     // _
  };
  Form form = Form::kName;
  bool negated = false;  // !name
  std::string_view name;
  uint64_t bits = 0;
  int64_t displacement = 0;
  std::vector<Operand> elements;
};

struct Instruction {
  std::string_view opcode;                  // "ld"
  std::vector<std::string_view> modifiers;  // "global", "v4", "f32"
  std::string_view spelling;                // "ld.global.v4.f32"
  std::string_view guard;                   // predicate register, or empty
  bool guard_negated = false;
  std::vector<Operand> operands;
  int scope = 0;      // where its names are looked up: index into Function::scopes
  uint32_t line = 0;  // of the PTX text, from 1
  int location = -1;  // index into Module::locations
};

struct Initializer {
  std::vector<uint8_t> bytes;
  struct Address {
    size_t offset;
    std::string_view symbol;
    int64_t addend;
  };
  std::vector<Address> addresses;
};

struct Variable {
  std::string_view name;
  Space space = Space::kGlobal;
  uint32_t alignment = 1;
  uint64_t bytes = 0;
  bool is_extern = false;
  bool is_managed = false;
  Initializer initializer;
};

// The names declared between a pair of braces.
struct Scope {
  int parent = -1;
  std::unordered_map<std::string, Type> registers;
  std::unordered_map<std::string_view, size_t> labels;  // -> index of the instruction that follows
  std::unordered_map<std::string_view, Variable> variables;
  std::unordered_map<std::string_view, std::vector<std::string_view>> branch_targets;  // of brx.idx
};

struct Function {
  std::string_view name;
  bool is_entry = false;
  bool has_body = false;
  std::vector<Variable> results;
  std::vector<Variable> parameters;
  std::vector<Scope> scopes;  // [0] is the body
  std::vector<Instruction> instructions;
  uint32_t max_threads = 0;       // .maxntid, 0 if not given
  uint32_t required_threads = 0;  // .reqntid
  uint32_t line = 0;
};

// A place in the CUDA source; `inlined_at` is the location it was inlined into, or -1.
struct Location {
  int file = 0;
  int line = 0;
  int column = 0;
  int inlined_at = -1;
};

// A parsed PTX text.  All string_views point into `text`.
struct Module {
  std::string text;
  std::vector<Variable> variables;
  std::vector<Function> functions;
  std::map<int, std::string> files;
  std::vector<Location> locations;

  const Function* function(std::string_view name) const;
  std::string_view line(uint32_t number) const;
};

// Parses or, where the text is none that this parser knows, refuses it with the line.
std::unique_ptr<Module> parse(std::string text);

}  // namespace trireme::vgpu::ptx
