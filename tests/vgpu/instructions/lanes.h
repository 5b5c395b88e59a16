#pragma once

#include <cstdint>

#include "tests/vgpu/machine/warp.h"

namespace trireme::vgpu {

// d[l] = f(sources[l]...) in the active lanes.  f must not mind what it gets in the others.
// The destination may be one of the sources.
template <class D, class F, class... S>
inline void for_lanes(LaneMask active, D* d, F f, const S*... sources) {
  if (active == kAllLanes) {
#pragma GCC ivdep
    for (int l = 0; l < kWarpSize; ++l) d[l] = f(sources[l]...);
  } else {
    D results[kWarpSize];
    for (int l = 0; l < kWarpSize; ++l) results[l] = f(sources[l]...);
#pragma GCC ivdep
    for (int l = 0; l < kWarpSize; ++l) d[l] = active >> l & 1 ? results[l] : d[l];
  }
}

// Handlers for f with one, two and three sources.
template <class D, class A, auto f>
void map1(Warp& w, const Instr& i, LaneMask active) {
  for_lanes(active, w.at<D>(i.op[0]), f, w.at<A>(i.op[1]));
}
template <class D, class A, class B, auto f>
void map2(Warp& w, const Instr& i, LaneMask active) {
  for_lanes(active, w.at<D>(i.op[0]), f, w.at<A>(i.op[1]), w.at<B>(i.op[2]));
}
template <class D, class A, class B, class C, auto f>
void map3(Warp& w, const Instr& i, LaneMask active) {
  for_lanes(active, w.at<D>(i.op[0]), f, w.at<A>(i.op[1]), w.at<B>(i.op[2]), w.at<C>(i.op[3]));
}

// The lanes in which f is true, as a predicate; the inactive lanes keep their bit.
template <class F, class... S>
inline void set_predicate(LaneMask active, LaneMask& d, F f, const S*... sources) {
  LaneMask result = 0;
  for (int l = 0; l < kWarpSize; ++l) result |= LaneMask{static_cast<bool>(f(sources[l]...))} << l;
  d = (d & ~active) | (result & active);
}

// Calls f(lane) for each active lane, lowest first.
template <class F>
inline void for_each_lane(LaneMask active, F f) {
  for (; active; active &= active - 1) f(std::countr_zero(active));
}

}  // namespace trireme::vgpu
