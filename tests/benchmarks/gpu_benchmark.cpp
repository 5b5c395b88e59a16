// What a GPU reaches with our kernels, as one table: products and attention in TFLOP/s and as a share of the
// device's peak, kernels that wait for memory in GB/s and as a share of what a copy moves, whole training
// steps with their parts.
//
//     gpu_benchmark            on a GPU (tests/gpu.sh table)
//     gpu_benchmark --smoke    each line once and small, to see that it works: the virtual GPU knows nothing
//     of
//                              time
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>

#include <cuda_runtime_api.h>

#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/gpu_table.h"
#include "kernels/cuda/timing.h"
#include "kernels/dropout.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/gated_activation.h"
#include "kernels/matmul.h"
#include "kernels/norm.h"
#include "kernels/residual.h"
#include "kernels/rope.h"
#include "kernels/speed_of_light.h"
#include "tests/benchmarks/device_operands.h"
#include "tests/benchmarks/step_ops.h"
#include "tests/benchmarks/training_step.h"

namespace trireme {
namespace {

constexpr Device kGpu{DeviceType::kCuda, 0};
constexpr DType kBf16 = DType::kBfloat16;
constexpr DType kFp32 = DType::kFloat32;

class Table {
 public:
  explicit Table(bool smoke) : smoke_(smoke) {}

  bool smoke() const { return smoke_; }
  int repetitions() const { return smoke_ ? 1 : 20; }
  Stream stream() const { return stream_; }
  // A size, or the small one.
  std::int64_t size(std::int64_t real, std::int64_t small) const { return smoke_ ? small : real; }

  void head(const std::string& title, const char* unit, const char* whole) const {
    std::printf("\n%-46s %9s %9s %9s\n", title.c_str(), "ms", unit, whole);
  }
  void computed(const std::string& what, double flops, DType dtype, const std::function<void()>& call) const {
    line(what, flops * 1e-12, peak_flops(kGpu, dtype) * 1e-12, call);
  }
  void moved(const std::string& what, double bytes, const std::function<void()>& call) const {
    line(what, bytes * 1e-9, copied_gb_per_s_, call);
  }
  // What moved() compares with.
  void measure_copy() {
    DeviceOperands make(kGpu);
    const Shape shape{size(std::int64_t{1} << 28, 1 << 12)};
    const Tensor from = make.noise(kFp32, shape), to = make.zeros(kFp32, shape);
    const double ms = cuda::time_ms([&] { copy(to, from, stream_); }, stream_, repetitions());
    copied_gb_per_s_ = 2.0 * 4.0 * static_cast<double>(shape[0]) * 1e-6 / ms;
  }
  double copied_gb_per_s() const { return copied_gb_per_s_; }

 private:
  // `amount` of work, of which the device does `most` in a second.
  void line(const std::string& what, double amount, double most, const std::function<void()>& call) const {
    const double ms = cuda::time_ms(call, stream_, repetitions());
    const double rate = amount / ms * 1e3;
    std::printf("%-46s %9.3f %9.1f %8.1f%%\n", what.c_str(), ms, rate, 100.0 * rate / most);
    std::fflush(stdout);
  }

  const bool smoke_;
  const DeviceStream stream_{kGpu};
  double copied_gb_per_s_ = 0.0;
};

void print_matmul(const Table& table, const char* name, DType dtype, std::int64_t m, std::int64_t n,
                  std::int64_t k) {
  m = table.size(m, 32), n = table.size(n, 48), k = table.size(k, 64);
  DeviceOperands make(kGpu);
  const Tensor a = make.noise(dtype, {m, k}), b = make.noise(dtype, {n, k}), c = make.zeros(dtype, {m, n});
  const std::string size = std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k);
  table.computed(std::string(name) + " " + size, 2.0 * static_cast<double>(m * n) * static_cast<double>(k),
                 dtype, [&] { matmul(c, a, b, {.transpose_b = true}, table.stream()); });
}

void print_matmuls(const Table& table) {
  table.head("matmul, bfloat16 (rows x outputs x inputs)", "TFLOP/s", "of peak");
  print_matmul(table, "square", kBf16, 8192, 8192, 8192);
  print_matmul(table, "GPT-2 124M qkv", kBf16, 16384, 2304, 768);
  print_matmul(table, "GPT-2 124M mlp", kBf16, 16384, 3072, 768);
  print_matmul(table, "GPT-2 1.5B mlp", kBf16, 16384, 6400, 1600);
  print_matmul(table, "Llama 8B qkv", kBf16, 16384, 6144, 4096);
  print_matmul(table, "Llama 8B gate, up", kBf16, 16384, 28672, 4096);
  print_matmul(table, "Llama 8B down", kBf16, 16384, 4096, 14336);
  table.head("matmul, float32", "TFLOP/s", "of peak");
  print_matmul(table, "square", kFp32, 4096, 4096, 4096);
  print_matmul(table, "GPT-2 124M mlp", kFp32, 16384, 3072, 768);
}

// 16 Ki tokens and a width of 2048 in each line.
void print_attention(const Table& table, std::int64_t head_width, std::int64_t sequence) {
  const std::int64_t t = table.size(sequence, 96);
  const Shape shape = {table.size(16384 / sequence, 1), t, table.size(2048 / head_width, 1), head_width};
  DeviceOperands make(kGpu);
  const Tensor q = make.noise(kBf16, shape), k = make.noise(kBf16, shape), v = make.noise(kBf16, shape);
  const Tensor out = make.zeros(kBf16, shape), dout = make.noise(kBf16, shape);
  const Tensor dq = make.zeros(kBf16, shape), dk = make.zeros(kBf16, shape), dv = make.zeros(kBf16, shape);
  const Tensor lse = make.zeros(kFp32, {shape[0], shape[2], t});
  const AttentionOptions options{.scale = 1.0F / std::sqrt(static_cast<float>(head_width)), .causal = true};
  // Two products forward, five backward; the mask leaves half of them.
  const double product = static_cast<double>(shape.num_elements()) * static_cast<double>(t);
  const std::string size = " D " + std::to_string(head_width) + ", T " + std::to_string(t);
  table.computed("forward " + size, 2.0 * product, kBf16,
                 [&] { attention_forward(out, lse, q, k, v, options, table.stream()); });
  table.computed("backward" + size, 5.0 * product, kBf16,
                 [&] { attention_backward(dq, dk, dv, dout, out, lse, q, k, v, options, table.stream()); });
}

void print_attentions(const Table& table) {
  table.head("causal attention, bfloat16", "TFLOP/s", "of peak");
  for (const std::int64_t head_width : {64, 128}) {
    for (std::int64_t sequence = 1024; sequence <= 16384; sequence *= 2) {
      print_attention(table, head_width, sequence);
      if (table.smoke()) break;
    }
  }
}

// Ops on rows of activations.
void print_rows(const Table& table) {
  const std::int64_t rows = table.size(16384, 8), width = table.size(4096, 256);
  const double bytes = 2.0 * static_cast<double>(rows * width);  // of one tensor
  const Stream stream = table.stream();
  DeviceOperands make(kGpu);
  const Shape shape = {rows, width};
  const Tensor a = make.noise(kBf16, shape), b = make.noise(kBf16, shape);
  const Tensor c = make.zeros(kBf16, shape), d = make.zeros(kBf16, shape);
  const Tensor mean = make.zeros(kFp32, {rows}), rstd = make.zeros(kFp32, {rows});
  const Tensor weight = make.noise(kBf16, {width}), bias = make.noise(kBf16, {width});
  const Tensor dweight = make.zeros(kFp32, {width}), dbias = make.zeros(kFp32, {width});
  for (const bool rms : {false, true}) {
    const std::string name = rms ? "residual + RMSNorm" : "residual + LayerNorm";
    const auto if_layer = [&](const Tensor& x) { return rms ? Tensor() : x; };
    table.moved(name + " forward", 4.0 * bytes, [&] {
      residual_norm_forward(c, d, if_layer(mean), rstd, a, b, weight, if_layer(bias), 1e-5F, {}, stream);
    });
    table.moved(name + " backward", 5.0 * bytes, [&] {
      residual_norm_backward(c, b, dweight, if_layer(dbias), a, d, if_layer(mean), rstd, weight, {}, stream);
    });
  }
  table.moved("GELU forward", 2.0 * bytes, [&] { activation_forward(c, a, Activation::kGeluTanh, stream); });
  table.moved("GELU backward", 3.0 * bytes,
              [&] { activation_backward(c, b, a, Activation::kGeluTanh, stream); });
  const Tensor gated = make.noise(kBf16, {rows, 2 * width}), dgated = make.zeros(kBf16, {rows, 2 * width});
  table.moved("SwiGLU forward", 3.0 * bytes,
              [&] { gated_activation_forward(c, gated, Activation::kSilu, stream); });
  table.moved("SwiGLU backward", 5.0 * bytes,
              [&] { gated_activation_backward(dgated, a, gated, Activation::kSilu, stream); });
  table.moved("residual addition", 3.0 * bytes, [&] { add_residual(c, a, b, {}, {}, stream); });
  table.moved("dropout", 2.0 * bytes, [&] { dropout(c, a, {.probability = 0.1F, .key = 1}, stream); });
  const std::int64_t heads = width / 128;
  const Tensor cosines = make.zeros(kFp32, {rows, 64}), sines = make.zeros(kFp32, {rows, 64});
  table.moved("RoPE", 2.0 * bytes + 2.0 * 4.0 * static_cast<double>(rows) * 64.0, [&] {
    rope_forward(c.view({1, rows, heads, 128}), cosines, sines, 0, {}, stream);
  });
}

// Ops on a vocabulary: GPT-2's.
void print_vocabulary(const Table& table) {
  const std::int64_t vocabulary = table.size(50257, 300), stride = table.size(50304, 304);
  const std::int64_t rows = table.size(8192, 4), width = table.size(4096, 64);
  const Stream stream = table.stream();
  {
    DeviceOperands make(kGpu);
    const Tensor logits = make.noise(kBf16, {rows, stride}).slice(1, 0, vocabulary);
    const Tensor targets = make.ids({rows}, vocabulary);
    const Tensor lse = make.zeros(kFp32, {rows}), target_logit = make.zeros(kFp32, {rows});
    const double bytes = 2.0 * static_cast<double>(rows * vocabulary);
    table.moved("cross-entropy forward", bytes,
                [&] { cross_entropy_forward(lse, target_logit, {}, logits, targets, 0.0F, stream); });
    table.moved("cross-entropy backward", 2.0 * bytes,
                [&] { cross_entropy_backward(logits, logits, lse, targets, 0.0F, 1e-6F, stream); });
  }
  DeviceOperands make(kGpu);
  const Tensor tokens = make.ids({1, rows}, vocabulary);
  const Tensor rows_of_tokens = make.zeros(kBf16, {1, rows, width});
  const Tensor vectors = make.noise(kBf16, {vocabulary, width});
  const Tensor dvectors = make.zeros(kFp32, {vocabulary, width});
  const double elements = static_cast<double>(rows * width);
  table.moved("embedding forward", 4.0 * elements,
              [&] { embedding_forward(rows_of_tokens, tokens, vectors, {}, 0, {}, 1.0F, {}, stream); });
  table.moved("embedding backward", (2.0 + 8.0) * elements,
              [&] { embedding_backward(dvectors, {}, rows_of_tokens, tokens, {}, 1.0F, {}, stream); });
}

// Ops on parameters.
void print_parameters(const Table& table) {
  const std::int64_t count = table.size(std::int64_t{1} << 27, 1 << 10);
  const Stream stream = table.stream();
  const auto n = static_cast<double>(count);
  DeviceOperands make(kGpu);
  const Tensor parameter = make.noise(kFp32, {count}), gradient = make.noise(kFp32, {count});
  const Tensor m = make.zeros(kFp32, {count}), v = make.zeros(kFp32, {count});
  const Tensor factors = make.zeros(kFp32, {kNumAdamWFactors}), small = make.zeros(kBf16, {count});
  const AdamWTable pieces({{.begin = 0, .end = count}}, kGpu);
  table.moved("AdamW", 7.0 * 4.0 * n,
              [&] { adamw_step(parameter, {}, m, v, gradient, factors, pieces, {}, stream); });
  table.moved("sum of gradients", 3.0 * 4.0 * n, [&] { accumulate(gradient, parameter, stream); });
  table.moved("cast to bfloat16", 6.0 * n, [&] { convert(small, gradient, stream); });
  table.moved("gradients = 0", 4.0 * n, [&] { fill(gradient, 0.0F, stream); });
}

void print_step(const Table& table, const char* name, TransformerOptions options, std::int64_t batch,
                std::int64_t sequence) {
  if (table.smoke()) {
    options.kv_heads = options.kv_heads < options.heads ? 1 : 2;
    options.layers = 3, options.width = 64, options.heads = 2, options.head_width = 32,
    options.vocabulary = 96;
    options.feed_forward = 96, batch = 1, sequence = 16;
  }
  options.context = sequence;
  const auto times = time_training_step(options, batch, sequence, kGpu, table.repetitions());
  if (!times) {
    std::printf("%-46s not even two of its layers fit into the memory\n", name);
    return;
  }
  const std::string what = std::string(name) + ", " + std::to_string(times->layers) + " of " +
                           std::to_string(options.layers) + " layers, " + std::to_string(batch) + " x " +
                           std::to_string(sequence);
  const double rate = times->flops / times->step_ms * 1e-9;
  const auto share = [&](double ms) { return 100.0 * ms / times->step_ms; };
  std::printf("%-46s %9.3f %9.1f %8.1f%% %10.0f %8.0f%% %8.0f%% %8.0f%%\n", what.c_str(), times->step_ms,
              rate, 1e14 * rate / peak_flops(kGpu, kFp32), times->tokens_per_second, share(times->forward_ms),
              share(times->backward_ms), share(times->optimizer_ms));
  double known_ms = times->optimizer_ms;
  std::printf("   ");
  for (const OpTime& op : time_step_ops(options, batch, sequence, kGpu, table.repetitions())) {
    const double ms = op.once_ms + static_cast<double>(times->layers) * op.layer_ms;
    std::printf(" %s %.0f%%,", op.name, share(ms));
    known_ms += ms;
  }
  std::printf(" optimizer %.0f%%, all else %.0f%%\n", share(times->optimizer_ms), 100.0 - share(known_ms));
  std::fflush(stdout);
}

// Below each step its ops: each timed by itself, and as often as the step has it.  Model FLOPs: those of
// recomputation, of which there is none here, would not count.
void print_steps(const Table& table) {
  std::printf("\n%-46s %9s %9s %9s %10s %9s %9s %9s\n", "whole steps, float32; tokens/s with all layers",
              "ms", "TFLOP/s", "MFU", "tokens/s", "forward", "backward", "optimizer");
  const TransformerOptions gpt2{.layers = 12,
                                .width = 768,
                                .heads = 12,
                                .kv_heads = 12,
                                .head_width = 64,
                                .feed_forward = 3072,
                                .vocabulary = 50257,
                                .init_stddev = 0.02F};
  print_step(table, "GPT-2 124M", gpt2, 8, 1024);
  TransformerOptions xl = gpt2;
  xl.layers = 48, xl.width = 1600, xl.heads = xl.kv_heads = 25, xl.feed_forward = 6400;
  print_step(table, "GPT-2 1.5B", xl, 4, 1024);
  const TransformerOptions llama{.layers = 32,
                                 .width = 4096,
                                 .heads = 32,
                                 .kv_heads = 8,
                                 .head_width = 128,
                                 .feed_forward = 14336,
                                 .vocabulary = 128256,
                                 .norm = NormKind::kRms,
                                 .activation = FeedForward::kSwiglu,
                                 .biases = Biases::kNone,
                                 .positions = Positions::kRope,
                                 .rope_theta = 500000.0,
                                 .tied_embeddings = false,
                                 .init_stddev = 0.02F};
  print_step(table, "Llama 8B", llama, 1, 2048);
}

int run(bool smoke) {
  if (num_devices(DeviceType::kCuda) == 0) {
    std::fprintf(stderr, "gpu_benchmark: there is no CUDA device\n");
    return 2;
  }
  if (smoke) std::printf("smoke: sizes are tiny, and the numbers mean nothing\n");
  cudaDeviceProp properties{};
  TRIREME_CUDA(cudaGetDeviceProperties(&properties, kGpu.index));
  Table table(smoke);
  table.measure_copy();
  std::printf("%s\n", device_words(kGpu).c_str());
  for (const DType dtype : {kBf16, kFp32}) {
    const bool documented =
        cuda::documented_flops(properties.name, properties.multiProcessorCount, dtype).has_value();
    std::printf("peak, %s: %.1f TFLOP/s (%s)\n", name(dtype), peak_flops(kGpu, dtype) * 1e-12,
                documented ? "data sheet" : "measured by a product");
  }
  std::printf("a copy moves %.0f GB/s, read and written\n", table.copied_gb_per_s());
  print_matmuls(table);
  print_attentions(table);
  table.head("memory-bound, bfloat16; bytes that must be moved", "GB/s", "of copy");
  print_rows(table);
  print_vocabulary(table);
  table.head("parameters, float32", "GB/s", "of copy");
  print_parameters(table);
  print_steps(table);
  return 0;
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  return trireme::run(argc > 1 && std::strcmp(argv[1], "--smoke") == 0);
}
