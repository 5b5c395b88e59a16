#include "kernels/elementwise.h"

#include <cstring>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"

TRIREME_BEGIN_ISA

void fill(Tensor x, float value, Stream) {
  float* const p = x.data<float>();
  parallel_for(x.num_elements(), 1 << 16, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) p[i] = value;
  });
}

void accumulate(Tensor y, Tensor x, Stream) {
  float* const to = y.data<float>();
  const float* const from = x.data<float>();
  parallel_for(x.num_elements(), 1 << 16, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] += from[i];
  });
}

void copy(Tensor y, Tensor x, Stream) {
  const int last = x.num_dims() - 1;
  const std::int64_t width = x.dim(last);
  const std::int64_t rows = width > 0 ? x.num_elements() / width : 0;
  const std::int64_t element_bytes = size_bytes(x.dtype());
  char* const to = static_cast<char*>(y.raw_data());
  const char* const from = static_cast<const char*>(x.raw_data());
  constexpr std::int64_t kChunkElements = 1 << 16;
  parallel_for(rows, 1 + kChunkElements / (width + 1), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      std::int64_t to_offset = 0;
      std::int64_t from_offset = 0;
      std::int64_t rest = row;
      for (int dim = last - 1; dim >= 0; --dim) {
        const std::int64_t index = rest % x.dim(dim);
        rest /= x.dim(dim);
        to_offset += index * y.stride(dim);
        from_offset += index * x.stride(dim);
      }
      std::memcpy(to + to_offset * element_bytes, from + from_offset * element_bytes,
                  static_cast<std::size_t>(width * element_bytes));
    }
  });
}

template <typename To, typename From>
void convert_all(To* to, const From* from, std::int64_t count) {
  parallel_for(count, 1 << 16, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) to[i] = To(from[i]);
  });
}

void convert(Tensor y, Tensor x, Stream) {
  if (x.dtype() == DType::kFloat32) {
    convert_all(y.data<Bfloat16>(), x.data<float>(), x.num_elements());
  } else {
    convert_all(y.data<float>(), x.data<Bfloat16>(), x.num_elements());
  }
}

TRIREME_END_ISA
