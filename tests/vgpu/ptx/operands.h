#pragma once

#include "tests/vgpu/ptx/lexer.h"
#include "tests/vgpu/ptx/module.h"

namespace trireme::vgpu::ptx {

// Each takes its text from the lexer, or refuses it.
uint64_t parse_integer(Lexer& in);
// An integer, 0f..., 0d... or a decimal with a point.
Operand parse_number(Lexer& in);
Operand parse_operand(Lexer& in);

}  // namespace trireme::vgpu::ptx
