#include <algorithm>
#include <array>
#include <cstring>

#include "tests/vgpu/ptx/lexer.h"
#include "tests/vgpu/ptx/module.h"
#include "tests/vgpu/ptx/operands.h"
#include "tests/vgpu/report.h"

namespace trireme::vgpu::ptx {
namespace {

std::optional<Space> space_by_name(std::string_view name) {
  if (name == ".global") return Space::kGlobal;
  if (name == ".shared") return Space::kShared;
  if (name == ".local") return Space::kLocal;
  if (name == ".const") return Space::kConst;
  if (name == ".param") return Space::kParam;
  return std::nullopt;
}

class Parser {
 public:
  explicit Parser(Module& module) : module_(module), in_(module.text) {}

  void parse() {
    while (in_.peek().kind != Token::Kind::kEnd) statement_of_module();
  }

 private:
  void statement_of_module() {
    const std::string_view word = in_.peek().text;
    if (word == ".version" || word == ".target" || word == ".address_size") {
      skip_line();
    } else if (word == ".file") {
      file();
    } else if (word == ".section") {
      skip_braces();
    } else if (word == ".pragma" || word == ".alias") {
      while (!in_.take(";")) in_.next();
    } else {
      declaration();
    }
  }

  void skip_line() {
    const uint32_t line = in_.peek().line;
    while (in_.peek().line == line && in_.peek().kind != Token::Kind::kEnd) in_.next();
  }

  void skip_braces() {
    while (!in_.take("{")) in_.next();
    while (!in_.take("}")) in_.next();
  }

  void file() {
    in_.expect(".file");
    const int index = static_cast<int>(parse_integer(in_));
    module_.files[index] = std::string(in_.next().text);
    while (in_.take(",")) in_.next();  // time stamp and size
  }

  // A variable or a function, after its linkage.
  void declaration() {
    bool is_extern = false;
    for (;; in_.next()) {
      if (in_.peek().is(".extern"))
        is_extern = true;
      else if (!in_.peek().is(".visible") && !in_.peek().is(".weak") && !in_.peek().is(".common"))
        break;
    }
    if (in_.peek().is(".entry") || in_.peek().is(".func")) {
      function();
    } else if (auto space = space_by_name(in_.peek().text)) {
      in_.next();
      variables(*space, is_extern, [&](Variable&& v) { module_.variables.push_back(std::move(v)); });
    } else {
      in_.fail(text("'", in_.peek().text, "' is no declaration that the virtual GPU knows"));
    }
  }

  // What follows the state space: `.align 4 .b8 name[16] = {...}, name2;` (a list), up to the semicolon.
  template <class Declare>
  void variables(Space space, bool is_extern, Declare declare) {
    Variable common;
    common.space = space;
    common.is_extern = is_extern;
    const Type type = variable_type(common);
    do {
      Variable v = common;
      name_and_size(v);
      if (in_.take("=")) initializer(v, type);
      declare(std::move(v));
    } while (in_.take(","));
    in_.expect(";");
  }

  Type variable_type(Variable& v) {
    uint32_t vector = 1;
    for (;;) {
      const std::string_view word = in_.next().text;
      if (word == ".align") {
        v.alignment = static_cast<uint32_t>(parse_integer(in_));
      } else if (word == ".attribute") {
        in_.expect("(");
        v.is_managed = in_.take(".managed");
        while (!in_.take(")")) in_.next();
      } else if (word == ".ptr") {
        while (space_by_name(in_.peek().text) || in_.peek().is(".align")) {
          if (in_.next().is(".align")) parse_integer(in_);
        }
      } else if (word == ".v2" || word == ".v4") {
        vector = static_cast<uint32_t>(word[2] - '0');
      } else if (const auto type = word.empty() ? std::nullopt : type_by_name(word.substr(1))) {
        v.bytes = vector * type->register_bits() / 8;
        v.alignment = std::max(v.alignment, static_cast<uint32_t>(v.bytes));
        if (in_.peek().is(".ptr")) continue;  // a kernel parameter that says what it points to
        return *type;
      } else {
        in_.fail(text("'", word, "' in a variable's declaration"));
      }
    }
  }

  void name_and_size(Variable& v) {
    v.name = in_.next().text;
    while (in_.take("[")) {
      if (in_.take("]")) {  // an incomplete array: dynamic shared memory
        v.bytes = 0;
        return;
      }
      v.bytes *= parse_integer(in_);
      in_.expect("]");
    }
  }

  void initializer(Variable& v, Type type) {
    const size_t step = type.register_bits() / 8;
    size_t offset = 0;
    int depth = 0;
    v.initializer.bytes.resize(v.bytes);
    do {
      while (in_.take("{")) ++depth;
      initial_element(v, step, offset);
      offset += step;
      while (depth > 0 && in_.take("}")) --depth;
    } while (depth > 0 && in_.take(","));
  }

  void initial_element(Variable& v, size_t step, size_t offset) {
    if (offset + step > v.bytes) in_.fail(text("too many initial values for ", v.name));
    if (in_.peek().kind == Token::Kind::kWord) {  // symbol, symbol+4, generic(symbol)+4
      const bool generic = in_.take("generic");
      if (generic) in_.expect("(");
      Initializer::Address address{offset, in_.next().text, 0};
      if (generic) in_.expect(")");
      if (in_.take("+"))
        address.addend = static_cast<int64_t>(parse_integer(in_));
      else if (in_.take("-"))
        address.addend = -static_cast<int64_t>(parse_integer(in_));
      if (step != 8) in_.fail("an address in less than 8 bytes");
      v.initializer.addresses.push_back(address);
    } else {
      const Operand value = parse_number(in_);
      std::memcpy(v.initializer.bytes.data() + offset, &value.bits, step);
    }
  }

  void function() {
    Function f;
    f.line = in_.peek().line;
    f.is_entry = in_.next().is(".entry");
    if (in_.peek().is("(")) f.results = parameters();
    f.name = in_.next().text;
    if (in_.peek().is("(")) f.parameters = parameters();
    attributes(f);
    if (!in_.take(";")) {
      f.has_body = true;
      in_.expect("{");
      f.scopes.emplace_back();
      function_ = &f;
      location_ = -1;
      recent_.clear();
      body(0);
    }
    // A prototype may come before the definition.
    const auto same = std::find_if(module_.functions.begin(), module_.functions.end(),
                                   [&](const Function& other) { return other.name == f.name; });
    if (same == module_.functions.end())
      module_.functions.push_back(std::move(f));
    else if (f.has_body)
      *same = std::move(f);
  }

  std::vector<Variable> parameters() {
    std::vector<Variable> result;
    in_.expect("(");
    while (!in_.take(")")) {
      if (!in_.take(".param")) in_.fail("a parameter that is not in .param space");
      Variable v;
      v.space = Space::kParam;
      variable_type(v);
      name_and_size(v);
      result.push_back(std::move(v));
      in_.take(",");
    }
    return result;
  }

  void attributes(Function& f) {
    for (;;) {
      if (in_.take(".maxntid"))
        f.max_threads = product();
      else if (in_.take(".reqntid"))
        f.required_threads = product();
      else if (in_.take(".minnctapersm") || in_.take(".maxnreg"))
        parse_integer(in_);
      else if (in_.take(".pragma"))
        while (!in_.take(";")) in_.next();
      else if (!in_.take(".noreturn"))
        return;
    }
  }

  uint32_t product() {
    uint64_t result = parse_integer(in_);
    while (in_.take(",")) result *= parse_integer(in_);
    return static_cast<uint32_t>(result);
  }

  // Everything up to the closing brace, which it takes.
  void body(int scope) {
    while (!in_.take("}")) {
      const Token& token = in_.peek();
      if (token.kind == Token::Kind::kEnd) in_.fail("a function without an end");
      if (in_.take("{")) {
        function_->scopes.emplace_back().parent = scope;
        body(static_cast<int>(function_->scopes.size()) - 1);
      } else if (token.text.starts_with(".")) {
        directive(scope);
      } else if (!in_.take(";")) {
        instruction_or_label(scope);
      }
    }
  }

  void directive(int scope) {
    if (in_.take(".reg")) {
      registers(scope);
    } else if (in_.take(".loc")) {
      location();
    } else if (in_.take(".pragma")) {
      while (!in_.take(";")) in_.next();
    } else if (const auto space = space_by_name(in_.peek().text)) {
      in_.next();
      variables(*space, false, [&](Variable&& v) {
        const std::string_view name = v.name;
        function_->scopes[scope].variables.emplace(name, std::move(v));
      });
    } else {
      in_.fail(text("'", in_.peek().text, "' in a function"));
    }
  }

  // `.reg .b32 %r<10>, a;`
  void registers(int scope) {
    const std::string_view name = in_.next().text;
    const auto type = type_by_name(name.substr(std::min<size_t>(1, name.size())));
    if (!type) in_.fail(text("registers of the type ", name));
    auto& names = function_->scopes[scope].registers;
    do {
      const std::string stem(in_.next().text);
      if (in_.take("<")) {
        const uint64_t count = parse_integer(in_);
        in_.expect(">");
        for (uint64_t i = 0; i < count; ++i) names.emplace(stem + std::to_string(i), *type);
      } else {
        names.emplace(stem, *type);
      }
    } while (in_.take(","));
    in_.expect(";");
  }

  // `.loc 7 2807 1, function_name $L, inlined_at 7 2893 1`: the place that it is inlined at is the latest
  // .loc of that file, line and column, which has its own inlined_at.
  void location() {
    const uint32_t line = in_.peek().line;
    Location here = place();
    while (in_.peek().line == line && in_.take(",")) {
      if (in_.take("inlined_at")) {
        const Location outer = place();
        const auto found = recent_.find(key(outer));
        here.inlined_at = found != recent_.end() ? found->second : add(outer);
      } else {
        in_.next();  // function_name
        in_.next();
        if (in_.take("+")) in_.next();
      }
    }
    location_ = here.line == 0 ? -1 : add(here);
  }

  Location place() {
    Location l;
    l.file = static_cast<int>(parse_integer(in_));
    l.line = static_cast<int>(parse_integer(in_));
    l.column = static_cast<int>(parse_integer(in_));
    return l;
  }

  static std::array<int, 3> key(const Location& l) { return {l.file, l.line, l.column}; }

  int add(const Location& l) {
    module_.locations.push_back(l);
    return recent_[key(l)] = static_cast<int>(module_.locations.size()) - 1;
  }

  void instruction_or_label(int scope) {
    Instruction in;
    in.scope = scope;
    in.line = in_.peek().line;
    in.location = location_;
    if (in_.take("@")) {
      in.guard_negated = in_.take("!");
      in.guard = in_.next().text;
    }
    in.spelling = in_.next().text;
    if (in.guard.empty() && in_.take(":")) {
      label(scope, in.spelling);
      return;
    }
    split(in);
    if (!in_.peek().is(";")) {
      do in.operands.push_back(parse_operand(in_));
      while (in_.take(","));
    }
    in_.expect(";");
    function_->instructions.push_back(std::move(in));
  }

  void label(int scope, std::string_view name) {
    Scope& s = function_->scopes[scope];
    if (in_.take(".branchtargets")) {
      auto& targets = s.branch_targets[name];
      do targets.push_back(in_.next().text);
      while (in_.take(","));
      in_.expect(";");
    } else if (in_.peek().is(".callprototype")) {
      while (!in_.take(";")) in_.next();  // whoever calls through it is refused
    } else {
      s.labels[name] = function_->instructions.size();
    }
  }

  static void split(Instruction& in) {
    std::string_view rest = in.spelling;
    const auto piece = [&] {
      const size_t dot = std::min(rest.find('.'), rest.size());
      const std::string_view result = rest.substr(0, dot);
      rest.remove_prefix(std::min(dot + 1, rest.size()));
      return result;
    };
    in.opcode = piece();
    while (!rest.empty()) in.modifiers.push_back(piece());
  }

  Module& module_;
  Lexer in_;
  Function* function_ = nullptr;
  int location_ = -1;
  std::map<std::array<int, 3>, int> recent_;
};

}  // namespace

std::unique_ptr<Module> parse(std::string text) {
  auto module = std::make_unique<Module>();
  module->text = std::move(text);
  Parser(*module).parse();
  return module;
}

}  // namespace trireme::vgpu::ptx
