#pragma once

#include "tests/vgpu/machine/lowering.h"

namespace trireme::vgpu {

bool lower_integer(Lowering& to, const ptx::Instruction& in);  // add.s32, mad.lo, bfe, popc, dp4a, ...
bool lower_logic(Lowering& to, const ptx::Instruction& in);    // and, lop3, shl, shf, prmt, mov, selp, ...
bool lower_float(Lowering& to, const ptx::Instruction& in);    // add.f32, fma.rz.f64, rsqrt.approx, ...
bool lower_half(Lowering& to, const ptx::Instruction& in);     // fma.rn.bf16x2, max.f16, ex2.approx.f16, ...
bool lower_compare(Lowering& to, const ptx::Instruction& in);  // setp, set, testp
bool lower_convert(Lowering& to, const ptx::Instruction& in);  // cvt
bool lower_memory(Lowering& to, const ptx::Instruction& in);   // ld, st, prefetch, cvta, isspacep
bool lower_atomic(Lowering& to, const ptx::Instruction& in);   // atom, red
bool lower_async_copy(Lowering& to, const ptx::Instruction& in);  // cp.async
bool lower_matrix(Lowering& to, const ptx::Instruction& in);      // mma, ldmatrix
bool lower_warp(Lowering& to, const ptx::Instruction& in);        // shfl, vote, match, redux, activemask
bool lower_control(Lowering& to, const ptx::Instruction& in);     // bra, exit, ret, bar, membar, ...
bool lower_call(Lowering& to, const ptx::Instruction& in);        // call, vprintf, __assertfail

}  // namespace trireme::vgpu
