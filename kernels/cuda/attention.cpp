#include "kernels/attention.h"

#include <cstdint>
#include <limits>

#include <glog/logging.h>

#include "kernels/attention_check.h"
#include "kernels/cuda/attention/launch.h"

namespace trireme::cuda {
namespace {

int narrow(std::int64_t x) {
  CHECK_LE(x, std::numeric_limits<int>::max()) << "attention: a size";
  return static_cast<int>(x);
}

template <typename T>
HeadRows<T> rows_of(const Tensor& x_BTHD) {
  return {x_BTHD.data<std::remove_const_t<T>>(), x_BTHD.stride(0), x_BTHD.stride(1), x_BTHD.stride(2)};
}

// Whether rows can be copied 16 bytes at a time.
bool is_aligned(const Tensor& x_BTHD) {
  const std::int64_t elements = 16 / size_bytes(x_BTHD.dtype());
  bool aligned =
      reinterpret_cast<std::uintptr_t>(x_BTHD.raw_data()) % 16 == 0 && x_BTHD.dim(3) % elements == 0;
  for (int dim = 0; dim < 3; ++dim)
    aligned = aligned && (x_BTHD.dim(dim) == 1 || x_BTHD.stride(dim) % elements == 0);
  return aligned;
}

template <typename T>
AttentionParameters<T> parameters_of(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD,
                                     Tensor v_BSKD, const AttentionOptions& options) {
  AttentionParameters<T> p;
  p.q = rows_of<const T>(q_BTHD);
  p.k = rows_of<const T>(k_BSKD);
  p.v = rows_of<const T>(v_BSKD);
  p.out = rows_of<T>(out_BTHD);
  p.lse = lse_BHT ? lse_BHT.data<float>() : nullptr;
  p.num_sequences = narrow(q_BTHD.dim(0));
  p.num_queries = narrow(q_BTHD.dim(1));
  p.num_keys = narrow(k_BSKD.dim(1));
  p.num_heads = narrow(q_BTHD.dim(2));
  p.num_kv_heads = narrow(k_BSKD.dim(2));
  p.width = narrow(q_BTHD.dim(3));
  p.is_aligned = is_aligned(q_BTHD) && is_aligned(k_BSKD) && is_aligned(v_BSKD) && is_aligned(out_BTHD);
  p.scale = options.scale * 1.44269504F;
  p.is_causal = options.causal;
  // A window as wide as all there is hides nothing, and wider ones might overflow.
  p.window = options.window >= q_BTHD.dim(1) + k_BSKD.dim(1) ? 0 : narrow(options.window);
  p.alibi_slopes = options.alibi_slopes_H ? options.alibi_slopes_H.data<float>() : nullptr;
  if (options.query_documents_BT) {
    p.query_documents = options.query_documents_BT.data<std::int32_t>();
    p.key_documents = options.key_documents_BS.data<std::int32_t>();
  }
  if (options.dropout) {
    p.dropout_threshold = options.dropout.threshold();
    p.dropout_scale = options.dropout.scale();
    p.dropout_key = options.dropout.key;
    const auto groups = static_cast<std::uint64_t>(attention_mask_size(1, q_BTHD.dim(1), k_BSKD.dim(1)) / 4);
    const std::int64_t others = mask_heads(options, q_BTHD.dim(2)) - q_BTHD.dim(2);
    p.dropout_first = options.dropout.offset / 4 + static_cast<std::uint64_t>(options.first_head) * groups;
    p.dropout_groups_of_head = groups;
    p.dropout_groups_of_others = static_cast<std::uint64_t>(others) * groups;
  }
  p.is_deterministic = options.deterministic;
  return p;
}

template <typename T>
void forward(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
             const AttentionOptions& options, Stream stream) {
  launch_attention_forward(parameters_of<T>(out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options),
                           *stream.cuda());
}

template <typename T>
void backward(Tensor dq_BTHD, Tensor dk_BSKD, Tensor dv_BSKD, Tensor dout_BTHD, Tensor out_BTHD,
              Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD, const AttentionOptions& options,
              Stream stream) {
  AttentionParameters<T> p = parameters_of<T>(out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options);
  p.dout = rows_of<const T>(dout_BTHD);
  p.dq = rows_of<T>(dq_BTHD);
  p.dk = rows_of<T>(dk_BSKD);
  p.dv = rows_of<T>(dv_BSKD);
  p.is_aligned = p.is_aligned && is_aligned(dout_BTHD) && is_aligned(dq_BTHD) && is_aligned(dk_BSKD) &&
                 is_aligned(dv_BSKD);
  launch_attention_backward(p, *stream.cuda());
}

}  // namespace

void attention_forward(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                       const AttentionOptions& options, Stream stream) {
  if (q_BTHD.num_elements() == 0) return;
  make_current(stream.device());
  if (q_BTHD.dtype() == DType::kBfloat16) {
    forward<Bfloat16>(out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options, stream);
  } else {
    forward<float>(out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options, stream);
  }
}

void attention_backward(Tensor dq_BTHD, Tensor dk_BSKD, Tensor dv_BSKD, Tensor dout_BTHD, Tensor out_BTHD,
                        Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                        const AttentionOptions& options, Stream stream) {
  if (k_BSKD.num_elements() == 0) return;
  make_current(stream.device());
  if (q_BTHD.dtype() == DType::kBfloat16) {
    backward<Bfloat16>(dq_BTHD, dk_BSKD, dv_BSKD, dout_BTHD, out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD,
                       options, stream);
  } else {
    backward<float>(dq_BTHD, dk_BSKD, dv_BSKD, dout_BTHD, out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options,
                    stream);
  }
}

}  // namespace trireme::cuda
