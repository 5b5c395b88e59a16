// call: functions are inlined; vprintf and __assertfail are done here.
#include <cstdio>
#include <cstring>

#include "tests/vgpu/instructions/access.h"
#include "tests/vgpu/instructions/families.h"
#include "tests/vgpu/instructions/lanes.h"

namespace trireme::vgpu {
namespace {

using ptx::Operand;

// Follows a generic address of the lane while it reads.
class Reader {
 public:
  Reader(Warp& w, const Instr& i, int lane, uint64_t address)
      : w_(w), i_(i), lane_(lane), address_(address) {}

  uint8_t byte() {
    const uint8_t* at = find_byte(w_, lane_, address_);
    if (!at)
      give_up(Finding::kOutOfBounds,
              text("an argument at 0x", std::hex, address_, ", where there is no memory"),
              w_.where(i_, lane_));
    ++address_;
    return *at;
  }

  // The next value of the type, as varargs are laid out.
  template <class T>
  T value() {
    address_ = (address_ + sizeof(T) - 1) / sizeof(T) * sizeof(T);
    uint8_t bytes[sizeof(T)];
    for (uint8_t& b : bytes) b = byte();
    T result;
    std::memcpy(&result, bytes, sizeof(T));
    return result;
  }

  std::string string() {
    std::string result;
    while (const char c = static_cast<char>(byte())) result += c;
    return result;
  }

 private:
  Warp& w_;
  const Instr& i_;
  int lane_;
  uint64_t address_;
};

template <class T>
std::string format_one(const std::string& specification, T value) {
  char buffer[512];
  std::snprintf(buffer, sizeof(buffer), specification.c_str(), value);
  return buffer;
}

// One conversion of a format; `specification` begins with % and ends with the letter.
std::string format_argument(std::string specification, Warp& w, const Instr& i, int lane, Reader& arguments) {
  for (size_t star; (star = specification.find('*')) != std::string::npos;)
    specification.replace(star, 1, std::to_string(arguments.value<int32_t>()));
  const char letter = specification.back();
  switch (letter) {
    case '%':
      return "%";
    case 's':
      return format_one(specification, Reader(w, i, lane, arguments.value<uint64_t>()).string().c_str());
    case 'p':
      return format_one(specification, reinterpret_cast<void*>(arguments.value<uint64_t>()));
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
    case 'c':
      if (specification.find_first_of("lzjt") != std::string::npos)
        return format_one(specification, arguments.value<int64_t>());
      return format_one(specification, arguments.value<int32_t>());
    default:
      return format_one(specification, arguments.value<double>());
  }
}

std::string format_all(const std::string& format, Warp& w, const Instr& i, int lane, Reader arguments) {
  std::string result;
  for (size_t at = 0; at < format.size();) {
    const size_t percent = std::min(format.find('%', at), format.size());
    result += format.substr(at, percent - at);
    if (percent == format.size()) break;
    const size_t letter = format.find_first_of("diuoxXcsSpfFeEgGaA%", percent + 1);
    if (letter == std::string::npos) break;
    result += format_argument(format.substr(percent, letter + 1 - percent), w, i, lane, arguments);
    at = letter + 1;
  }
  return result;
}

// The parameter of a call, which lies in local memory.
template <class T>
T parameter(Warp& w, int lane, int64_t offset) {
  T value;
  std::memcpy(&value, w.block().local(w.index(), lane) + offset, sizeof(T));
  return value;
}

// list: offsets in local memory of the format, the arguments and the result.
void print(Warp& w, const Instr& i, LaneMask active) {
  for_each_lane(active, [&](int lane) {
    const std::string format = Reader(w, i, lane, parameter<uint64_t>(w, lane, i.list[0])).string();
    const Reader arguments(w, i, lane, parameter<uint64_t>(w, lane, i.list[1]));
    const std::string line = format_all(format, w, i, lane, arguments);
    std::fwrite(line.data(), 1, line.size(), stdout);
    const auto length = static_cast<int32_t>(line.size());
    std::memcpy(w.block().local(w.index(), lane) + i.list[2], &length, sizeof(length));
  });
}

// list: offsets of the message, the file, the line and the function.
void fail_assertion(Warp& w, const Instr& i, LaneMask active) {
  constexpr int kAssertionFailed = 710;
  for_each_lane(active, [&](int lane) {
    const auto string = [&](int n) {
      return Reader(w, i, lane, parameter<uint64_t>(w, lane, i.list[n])).string();
    };
    const std::string message = text(string(1), ":", parameter<uint32_t>(w, lane, i.list[2]), ": ", string(3),
                                     ": block: ", to_string(w.block().index()),
                                     ", thread: ", to_string(w.block().thread(w.index(), lane)),
                                     " Assertion `", string(0), "` failed.\n");
    std::fwrite(message.data(), 1, message.size(), stderr);
  });
  w.trap(kAssertionFailed);
}

void emit_builtin(Lowering& to, Handler handler, const std::vector<Operand>& parameters) {
  std::vector<Lanes> offsets;
  for (const Operand& p : parameters) offsets.push_back(static_cast<Lanes>(to.call_parameter(p)));
  to.emit(handler, Nature::kEffect);
  to.set_list(offsets);
}

}  // namespace

bool lower_call(Lowering& to, const ptx::Instruction& in) {
  if (in.opcode != "call") return false;
  size_t n = 0;
  std::vector<Operand> results;
  if (in.operands[0].form == Operand::Form::kVector) results = in.operands[n++].elements;
  const Operand& target = in.operands.at(n++);
  std::vector<Operand> arguments;
  if (n < in.operands.size()) arguments = in.operands[n++].elements;
  if (n < in.operands.size() || to.is_register(target)) to.fail("a call through a pointer");
  if (target.name == "vprintf") {
    arguments.push_back(results.at(0));
    emit_builtin(to, print, arguments);
  } else if (target.name == "__assertfail") {
    emit_builtin(to, fail_assertion, arguments);
  } else {
    const ptx::Function* function = to.module().function(target.name);
    if (!function || !function->has_body)
      to.fail(text("a call of ", target.name, ", which is not in the module"));
    to.inline_call(*function, results, arguments);
  }
  return true;
}

}  // namespace trireme::vgpu
