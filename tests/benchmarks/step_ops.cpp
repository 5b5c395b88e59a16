#include "tests/benchmarks/step_ops.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/cuda/timing.h"
#include "kernels/embedding.h"
#include "kernels/gated_activation.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "tests/benchmarks/device_operands.h"

namespace trireme {
namespace {

constexpr DType kFp32 = DType::kFloat32;

class StepOps {
 public:
  StepOps(const TransformerOptions& options, std::int64_t batch, std::int64_t sequence, Device device,
          int repetitions)
      : o_(options),
        batch_(batch),
        sequence_(sequence),
        rows_(batch * sequence),
        device_(device),
        stream_(device),
        repetitions_(repetitions) {}

  std::vector<OpTime> times() const {
    const std::int64_t queries = o_.heads * o_.head_width, keys = o_.kv_heads * o_.head_width;
    const bool gated = is_gated(o_.activation);
    const double feed_forward =
        gated ? product(rows_, 2 * o_.feed_forward, o_.width) + product(rows_, o_.width, o_.feed_forward)
              : products_with_gelu();
    std::vector<OpTime> times = {
        {"matmul",
         product(rows_, queries + 2 * keys, o_.width) + product(rows_, o_.width, queries) + feed_forward},
        {"attention", attention()},
        {"norm", 2.0 * norm(), norm()},
        {"loss", 0.0, loss()},
        {"embedding", 0.0, embedding()},
    };
    if (gated) times.push_back({"gate", gate()});
    if (o_.positions == Positions::kRope) times.push_back({"rope", rope()});
    return times;
  }

 private:
  double time(const std::function<void()>& call) const { return cuda::time_ms(call, stream_, repetitions_); }

  // A linear layer, forward and backward.
  double product(std::int64_t rows, std::int64_t outputs, std::int64_t inputs) const {
    DeviceOperands make(device_);
    const Tensor x = make.noise(kFp32, {rows, inputs}), w = make.noise(kFp32, {outputs, inputs});
    const Tensor y = make.noise(kFp32, {rows, outputs});
    const Tensor dx = make.zeros(kFp32, {rows, inputs}), dw = make.zeros(kFp32, {outputs, inputs});
    return time([&] {
      linear_forward(y, x, w, {}, stream_);
      linear_backward(dx, dw, {}, y, x, w, stream_);
    });
  }

  // The feed-forward layers with GELU between them.
  double products_with_gelu() const {
    DeviceOperands make(device_);
    const Shape in = {rows_, o_.width}, hidden = {rows_, o_.feed_forward};
    const Shape up = {o_.feed_forward, o_.width}, down = {o_.width, o_.feed_forward};
    const Tensor x = make.noise(kFp32, in), y = make.noise(kFp32, in), dx = make.zeros(kFp32, in);
    const Tensor h = make.zeros(kFp32, hidden), before = make.zeros(kFp32, hidden);
    const Tensor dh = make.zeros(kFp32, hidden);
    const Tensor w_up = make.noise(kFp32, up), dw_up = make.zeros(kFp32, up);
    const Tensor w_down = make.noise(kFp32, down), dw_down = make.zeros(kFp32, down);
    const Tensor bias = make.noise(kFp32, {o_.feed_forward}), dbias = make.zeros(kFp32, {o_.feed_forward});
    return time([&] {
      linear_activation_forward(h, before, x, w_up, bias, Activation::kGeluTanh, stream_);
      linear_forward(y, h, w_down, {}, stream_);
      linear_backward_through(dh, dw_down, {}, y, h, w_down, before, Activation::kGeluTanh, stream_);
      linear_backward(dx, dw_up, dbias, dh, x, w_up, stream_);
    });
  }

  double attention() const {
    DeviceOperands make(device_);
    const Shape of_q = {batch_, sequence_, o_.heads, o_.head_width};
    const Shape of_k = {batch_, sequence_, o_.kv_heads, o_.head_width};
    const Tensor q = make.noise(kFp32, of_q), k = make.noise(kFp32, of_k), v = make.noise(kFp32, of_k);
    const Tensor dq = make.zeros(kFp32, of_q), dk = make.zeros(kFp32, of_k), dv = make.zeros(kFp32, of_k);
    const Tensor out = make.zeros(kFp32, of_q), dout = make.noise(kFp32, of_q);
    const Tensor lse = make.zeros(kFp32, {batch_, o_.heads, sequence_});
    const AttentionOptions options{.scale = 1.0F / std::sqrt(static_cast<float>(o_.head_width))};
    return time([&] {
      attention_forward(out, lse, q, k, v, options, stream_);
      attention_backward(dq, dk, dv, dout, out, lse, q, k, v, options, stream_);
    });
  }

  double norm() const {
    DeviceOperands make(device_);
    const Shape shape = {rows_, o_.width};
    const bool rms = o_.norm == NormKind::kRms;
    const auto vector = [&](bool is_there) { return is_there ? make.zeros(kFp32, {o_.width}) : Tensor(); };
    const Tensor x = make.noise(kFp32, shape), branch = make.noise(kFp32, shape);
    const Tensor y = make.zeros(kFp32, shape), sum = make.zeros(kFp32, shape),
                 dsum = make.zeros(kFp32, shape);
    const Tensor mean = rms ? Tensor() : make.zeros(kFp32, {rows_}), rstd = make.zeros(kFp32, {rows_});
    const Tensor weight = vector(true), bias = vector(!rms), dweight = vector(true), dbias = vector(!rms);
    return time([&] {
      residual_norm_forward(y, sum, mean, rstd, x, branch, weight, bias, 1e-5F, {}, stream_);
      residual_norm_backward(dsum, {}, dweight, dbias, y, sum, mean, rstd, weight, {}, stream_);
    });
  }

  // The output layer and the cross-entropy, some rows at a time: the model, too, never has all logits.
  double loss() const {
    const std::int64_t rows = std::min<std::int64_t>(rows_, 1024);
    const double chunks = static_cast<double>(rows_) / static_cast<double>(rows);
    const double products = product(rows, o_.vocabulary, o_.width);
    DeviceOperands make(device_);
    const Tensor logits = make.noise(kFp32, {rows, o_.vocabulary}), targets = make.ids({rows}, o_.vocabulary);
    const Tensor lse = make.zeros(kFp32, {rows}), target_logit = make.zeros(kFp32, {rows});
    const double entropy = time([&] {
      cross_entropy_forward(lse, target_logit, {}, logits, targets, 0.0F, stream_);
      cross_entropy_backward(logits, logits, lse, targets, 0.0F, 1e-6F, stream_);
    });
    return chunks * (products + entropy);
  }

  double embedding() const {
    DeviceOperands make(device_);
    const Shape table = {o_.vocabulary, o_.width};
    const Tensor tokens = make.ids({batch_, sequence_}, o_.vocabulary);
    const Tensor x = make.zeros(kFp32, {batch_, sequence_, o_.width});
    const Tensor vectors = make.noise(kFp32, table), dvectors = make.zeros(kFp32, table);
    return time([&] {
      embedding_forward(x, tokens, vectors, {}, 0, {}, 1.0F, {}, stream_);
      embedding_backward(dvectors, {}, x, tokens, {}, 1.0F, {}, stream_);
    });
  }

  double gate() const {
    DeviceOperands make(device_);
    const Tensor x = make.noise(kFp32, {rows_, 2 * o_.feed_forward}), dx = make.zeros(kFp32, x.shape());
    const Tensor y = make.zeros(kFp32, {rows_, o_.feed_forward});
    return time([&] {
      gated_activation_forward(y, x, Activation::kSilu, stream_);
      gated_activation_backward(dx, y, x, Activation::kSilu, stream_);
    });
  }

  // Of queries and keys.
  double rope() const {
    DeviceOperands make(device_);
    const Tensor x = make.noise(kFp32, {batch_, sequence_, o_.heads + o_.kv_heads, o_.head_width});
    const Shape table = {sequence_, o_.head_width / 2};
    const Tensor cosines = make.zeros(kFp32, table), sines = make.zeros(kFp32, table);
    return time([&] {
      rope_forward(x, cosines, sines, 0, {}, stream_);
      rope_backward(x, cosines, sines, 0, {}, stream_);
    });
  }

  const TransformerOptions& o_;
  const std::int64_t batch_, sequence_, rows_;
  const Device device_;
  const DeviceStream stream_;
  const int repetitions_;
};

}  // namespace

std::vector<OpTime> time_step_ops(const TransformerOptions& options, std::int64_t batch,
                                  std::int64_t sequence, Device device, int repetitions) {
  return StepOps(options, batch, sequence, device, repetitions).times();
}

}  // namespace trireme
