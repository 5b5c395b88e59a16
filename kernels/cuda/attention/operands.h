// What the host tells the attention kernels about their operands.
#pragma once

#include <cstdint>
#include <limits>
#include <type_traits>

#include <glog/logging.h>

#include "kernels/attention.h"
#include "kernels/cuda/attention/parameters.h"

namespace trireme::cuda {

inline int narrow(std::int64_t x) {
  CHECK_LE(x, std::numeric_limits<int>::max()) << "attention: a size";
  return static_cast<int>(x);
}

template <typename T>
HeadRows<T> rows_of(const Tensor& x_BTHD) {
  return {x_BTHD.data<std::remove_const_t<T>>(), x_BTHD.stride(0), x_BTHD.stride(1), x_BTHD.stride(2)};
}

// Whether rows can be copied 16 bytes at a time.
inline bool is_aligned(const Tensor& x_BTHD) {
  const std::int64_t elements = 16 / size_bytes(x_BTHD.dtype());
  bool aligned =
      reinterpret_cast<std::uintptr_t>(x_BTHD.raw_data()) % 16 == 0 && x_BTHD.dim(3) % elements == 0;
  for (int dim = 0; dim < 3; ++dim)
    aligned = aligned && (x_BTHD.dim(dim) == 1 || x_BTHD.stride(dim) % elements == 0);
  return aligned;
}

// All that scores depend on: queries, keys and the mask.
template <typename T>
AttentionParameters<T> parameters_of_scores(const Tensor& q_BTHD, const Tensor& k_BSKD,
                                            const AttentionOptions& options) {
  AttentionParameters<T> p;
  p.q = rows_of<const T>(q_BTHD);
  p.k = rows_of<const T>(k_BSKD);
  p.num_sequences = narrow(q_BTHD.dim(0));
  p.num_queries = narrow(q_BTHD.dim(1));
  p.num_keys = narrow(k_BSKD.dim(1));
  p.num_heads = narrow(q_BTHD.dim(2));
  p.num_kv_heads = narrow(k_BSKD.dim(2));
  p.width = narrow(q_BTHD.dim(3));
  p.is_aligned = is_aligned(q_BTHD) && is_aligned(k_BSKD);
  p.scale = options.scale * 1.44269504F;
  p.is_causal = options.causal;
  // A window as wide as all there is hides nothing, and wider ones might overflow.
  p.window = options.window >= q_BTHD.dim(1) + k_BSKD.dim(1) ? 0 : narrow(options.window);
  p.alibi_slopes = options.alibi_slopes_H ? options.alibi_slopes_H.data<float>() : nullptr;
  if (options.query_documents_BT) {
    p.query_documents = options.query_documents_BT.data<std::int32_t>();
    p.key_documents = options.key_documents_BS.data<std::int32_t>();
  }
  return p;
}

}  // namespace trireme::cuda
