#include "tests/vgpu/ptx/module.h"

namespace trireme::vgpu::ptx {

std::optional<Type> type_by_name(std::string_view name) {
  static const std::unordered_map<std::string_view, Type> types = {
      {"b8", {Kind::kBits, 8}},        {"b16", {Kind::kBits, 16}},       {"b32", {Kind::kBits, 32}},
      {"b64", {Kind::kBits, 64}},      {"u8", {Kind::kUnsigned, 8}},     {"u16", {Kind::kUnsigned, 16}},
      {"u32", {Kind::kUnsigned, 32}},  {"u64", {Kind::kUnsigned, 64}},   {"s8", {Kind::kSigned, 8}},
      {"s16", {Kind::kSigned, 16}},    {"s32", {Kind::kSigned, 32}},     {"s64", {Kind::kSigned, 64}},
      {"f16", {Kind::kFloat, 16}},     {"f32", {Kind::kFloat, 32}},      {"f64", {Kind::kFloat, 64}},
      {"bf16", {Kind::kBfloat, 16}},   {"f16x2", {Kind::kFloat, 16, 2}}, {"bf16x2", {Kind::kBfloat, 16, 2}},
      {"pred", {Kind::kPredicate, 1}},
  };
  const auto found = types.find(name);
  if (found == types.end()) return std::nullopt;
  return found->second;
}

const Function* Module::function(std::string_view name) const {
  for (const Function& f : functions)
    if (f.name == name) return &f;
  return nullptr;
}

std::string_view Module::line(uint32_t number) const {
  std::string_view rest = text;
  for (; number > 1 && !rest.empty(); --number)
    rest.remove_prefix(std::min(rest.find('\n'), rest.size() - 1) + 1);
  rest = rest.substr(0, rest.find('\n'));
  const size_t first = rest.find_first_not_of(" \t");
  return first == std::string_view::npos ? std::string_view() : rest.substr(first);
}

}  // namespace trireme::vgpu::ptx
