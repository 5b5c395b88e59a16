// Copies from global to shared memory (cp.async, sm_80) that threads start, and wait for later.
#pragma once

namespace trireme::cuda {

__device__ inline unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// Copies 16 bytes to shared memory while the thread goes on; zeros if not `is_there`, and then `from` isn't
// read.
__device__ inline void copy_async(unsigned to, const void* from, bool is_there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(is_there ? 16 : 0)
               : "memory");
}
// The same for four bytes, which need not lie at a multiple of 16.
__device__ inline void copy_async_4(unsigned to, const void* from, bool is_there) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(to), "l"(from), "r"(is_there ? 4 : 0)
               : "memory");
}
// Ends a group of copies.
__device__ inline void commit_copies() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
// Waits until at most kPending of this thread's groups are not done.  A barrier must follow before other
// threads read.
template <int kPending>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

}  // namespace trireme::cuda
