// Memory that is mapped to addresses piece by piece; the argument says what is done with it, and whether that
// is right.
#include <cuda.h>

#include "program.h"

__global__ void fill(float* out, float value, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) out[i] = value;
}

__global__ void add(float* out, const float* in, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) out[i] += in[i];
}

template <typename Function>
Function* driver(const char* name) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  CUDA(cudaGetDriverEntryPointByVersion(name, &function, 10020, cudaEnableDefault, &found));
  EXPECT(found == cudaDriverEntryPointSuccess);
  return reinterpret_cast<Function*>(function);
}
#define DRIVER(name) driver<decltype(name)>(#name)

constexpr int kSize = 64;

CUmemAllocationProp properties() {
  CUmemAllocationProp p = {};
  p.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  p.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  return p;
}

// Two pages of addresses, and two pieces of memory.
struct Mapped {
  Mapped() {
    const CUmemAllocationProp p = properties();
    EXPECT(DRIVER(cuMemGetAllocationGranularity)(&page, &p, CU_MEM_ALLOC_GRANULARITY_MINIMUM) ==
           CUDA_SUCCESS);
    EXPECT(DRIVER(cuMemAddressReserve)(&addresses, 2 * page, 0, 0, 0) == CUDA_SUCCESS);
    for (auto& piece : pieces) EXPECT(DRIVER(cuMemCreate)(&piece, page, &p, 0) == CUDA_SUCCESS);
  }
  CUresult map(int at, int piece) {
    return DRIVER(cuMemMap)(addresses + at * page, page, 0, pieces[piece], 0);
  }
  void allow(int at, int count) {
    CUmemAccessDesc access = {properties().location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    EXPECT(DRIVER(cuMemSetAccess)(addresses + at * page, count * page, &access, 1) == CUDA_SUCCESS);
  }
  CUresult unmap(int at, int count) { return DRIVER(cuMemUnmap)(addresses + at * page, count * page); }
  CUresult release(int piece) { return DRIVER(cuMemRelease)(pieces[piece]); }
  CUresult free() { return DRIVER(cuMemAddressFree)(addresses, 2 * page); }
  float* at(int index) { return reinterpret_cast<float*>(addresses + index * page); }

  size_t page = 0;
  CUdeviceptr addresses = 0;
  CUmemGenericAllocationHandle pieces[2];
};

// One piece at both addresses: streams must be in order whichever they use.
void use_two_addresses(Mapped& m, bool with_event) {
  EXPECT(m.map(0, 0) == CUDA_SUCCESS && m.map(1, 0) == CUDA_SUCCESS);
  m.allow(0, 2);
  cudaStream_t first, second;
  CUDA(cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking));
  CUDA(cudaStreamCreateWithFlags(&second, cudaStreamNonBlocking));
  fill<<<1, 32, 0, first>>>(m.at(0), 1, kSize);
  cudaEvent_t event;
  CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  CUDA(cudaEventRecord(event, first));
  if (with_event) CUDA(cudaStreamWaitEvent(second, event, 0));
  add<<<1, 32, 0, second>>>(m.at(1), m.at(1), kSize);
  std::vector<float> host(kSize);
  CUDA(cudaMemcpyAsync(host.data(), m.at(0), kSize * sizeof(float), cudaMemcpyDeviceToHost, second));
  CUDA(cudaStreamSynchronize(second));
  for (const float x : host) EXPECT(x == 2);
  CUDA(cudaEventDestroy(event));
  CUDA(cudaStreamDestroy(first));
  CUDA(cudaStreamDestroy(second));
  EXPECT(m.unmap(0, 2) == CUDA_SUCCESS);
}

// Unmaps one of two addresses while a kernel may use that one, or the other one.
void unmap_early(Mapped& m, int used) {
  EXPECT(m.map(0, 0) == CUDA_SUCCESS && m.map(1, 0) == CUDA_SUCCESS);
  m.allow(0, 2);
  fill<<<1, 32>>>(m.at(used), 1, kSize);
  EXPECT(m.unmap(0, 1) == CUDA_SUCCESS);
  CUDA(cudaDeviceSynchronize());
  EXPECT(m.unmap(1, 1) == CUDA_SUCCESS);
}

// What the driver says no to.
void refuse(Mapped& m) {
  EXPECT(m.map(0, 0) == CUDA_SUCCESS);
  EXPECT(m.map(0, 1) == CUDA_ERROR_INVALID_VALUE);
  EXPECT(m.unmap(0, 2) == CUDA_ERROR_INVALID_VALUE);
  EXPECT(m.free() == CUDA_ERROR_INVALID_VALUE);
  EXPECT(m.unmap(0, 1) == CUDA_SUCCESS);
  EXPECT(m.unmap(0, 1) == CUDA_ERROR_INVALID_VALUE);
  CUmemGenericAllocationHandle piece;
  const CUmemAllocationProp p = properties();
  EXPECT(DRIVER(cuMemCreate)(&piece, m.page / 2, &p, 0) == CUDA_ERROR_INVALID_VALUE);
  EXPECT(DRIVER(cuMemCreate)(&piece, size_t{1} << 40, &p, 0) == CUDA_ERROR_OUT_OF_MEMORY);
}

// A piece that nobody has any more is memory of the device while it is mapped, and not longer.
void release_mapped(Mapped& m) {
  const auto free_bytes = [] {
    size_t free, total;
    CUDA(cudaMemGetInfo(&free, &total));
    return free;
  };
  const size_t before = free_bytes();
  CUmemGenericAllocationHandle piece;
  const CUmemAllocationProp p = properties();
  EXPECT(DRIVER(cuMemCreate)(&piece, m.page, &p, 0) == CUDA_SUCCESS);
  EXPECT(DRIVER(cuMemMap)(m.addresses, m.page, 0, piece, 0) == CUDA_SUCCESS);
  EXPECT(DRIVER(cuMemRelease)(piece) == CUDA_SUCCESS);
  EXPECT(DRIVER(cuMemRelease)(piece) == CUDA_ERROR_INVALID_VALUE);
  EXPECT(free_bytes() == before - m.page);
  EXPECT(m.unmap(0, 1) == CUDA_SUCCESS);
  EXPECT(free_bytes() == before);
}

int main(int, char** argv) {
  const std::string which = argv[1];
  CUDA(cudaSetDevice(0));
  Mapped m;
  if (which == "two_addresses") use_two_addresses(m, true);
  if (which == "missing_event") use_two_addresses(m, false);
  if (which == "unmap_early") unmap_early(m, 0);
  if (which == "unmap_other") unmap_early(m, 1);
  if (which == "refused") refuse(m);
  if (which == "release_mapped") release_mapped(m);
  if (which == "nothing_there") fill<<<1, 32>>>(m.at(0), 1, kSize);
  if (which == "set_of_nothing") CUDA(cudaMemset(m.at(1), 0, kSize));
  if (which == "no_access" || which == "beyond" || which == "uninitialised") {
    EXPECT(m.map(0, 0) == CUDA_SUCCESS);
    if (which != "no_access") m.allow(0, 1);
    float* const at = m.at(which == "beyond" ? 1 : 0) - (which == "beyond" ? kSize / 2 : 0);
    if (which == "uninitialised")
      add<<<1, 32>>>(at, at, kSize);
    else
      fill<<<1, 32>>>(at, 1, kSize);
    CUDA(cudaDeviceSynchronize());
    EXPECT(m.unmap(0, 1) == CUDA_SUCCESS);
  }
  if (which != "leak_of_addresses") EXPECT(m.free() == CUDA_SUCCESS);
  if (which != "leak_of_memory") EXPECT(m.release(0) == CUDA_SUCCESS);
  EXPECT(m.release(1) == CUDA_SUCCESS);
  std::puts("fine");
}
