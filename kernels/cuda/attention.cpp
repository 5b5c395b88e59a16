#include "kernels/attention.h"

#include <cstdint>

#include "kernels/attention_check.h"
#include "kernels/cuda/attention/launch.h"
#include "kernels/cuda/attention/operands.h"
#include "kernels/cuda/cudnn/attention.h"

namespace trireme::cuda {
namespace {

// Not in its header, so that calls of what isn't built are left out.
constexpr bool kHasCudnn = TRIREME_HAS_CUDNN;

template <typename T>
AttentionParameters<T> parameters_of(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD,
                                     Tensor v_BSKD, const AttentionOptions& options) {
  AttentionParameters<T> p = parameters_of_scores<T>(q_BTHD, k_BSKD, options);
  p.v = rows_of<const T>(v_BSKD);
  p.out = rows_of<T>(out_BTHD);
  p.lse = lse_BHT ? lse_BHT.data<float>() : nullptr;
  p.is_aligned = p.is_aligned && is_aligned(v_BSKD) && is_aligned(out_BTHD);
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
  const auto ours = [&] {
    if (q_BTHD.dtype() == DType::kBfloat16) {
      forward<Bfloat16>(out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options, stream);
    } else {
      forward<float>(out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options, stream);
    }
  };
  if constexpr (kHasCudnn) {
    if (options.library != AttentionLibrary::kTrireme &&
        cudnn::attention_forward(out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options, ours, stream))
      return;
  }
  ours();
}

void attention_backward(Tensor dq_BTHD, Tensor dk_BSKD, Tensor dv_BSKD, Tensor dout_BTHD, Tensor out_BTHD,
                        Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                        const AttentionOptions& options, Stream stream) {
  if (k_BSKD.num_elements() == 0) return;
  make_current(stream.device());
  const auto ours = [&] {
    if (q_BTHD.dtype() == DType::kBfloat16) {
      backward<Bfloat16>(dq_BTHD, dk_BSKD, dv_BSKD, dout_BTHD, out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD,
                         options, stream);
    } else {
      backward<float>(dq_BTHD, dk_BSKD, dv_BSKD, dout_BTHD, out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD,
                      options, stream);
    }
  };
  if constexpr (kHasCudnn) {
    if (options.library != AttentionLibrary::kTrireme && q_BTHD.num_elements() > 0 &&
        cudnn::attention_backward(dq_BTHD, dk_BSKD, dv_BSKD, dout_BTHD, out_BTHD, lse_BHT, q_BTHD, k_BSKD,
                                  v_BSKD, options, ours, stream))
      return;
  }
  ours();
}

}  // namespace trireme::cuda
