// Every op at the shapes of GPT-2 124M, 4 sequences of 256 tokens unless a name says otherwise. Compute-bound
// ops report `peak`, their share of the fp32 multiply-add peak measured in the same process; the others
// report bytes per second, counting each operand once.  OMP_NUM_THREADS and TRIREME_ISA apply.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "kernels/adamw.h"
#include "kernels/arena.h"
#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/gated_activation.h"
#include "kernels/linear.h"
#include "kernels/matmul.h"
#include "kernels/norm.h"
#include "kernels/reduce.h"
#include "kernels/rope.h"
#include "kernels/speed_of_light.h"
#include "kernels/threads.h"

namespace trireme {
namespace {

constexpr std::int64_t kRows = 1024;
constexpr std::int64_t kWidth = 768;
constexpr std::int64_t kVocabulary = 50257;
constexpr std::int64_t kVocabularyStride = 50304;  // of logits: a multiple of 64

// Hands out float32 tensors of small numbers.
class Tensors {
 public:
  Tensor operator()(Shape shape) {
    buffers_.emplace_back(shape.num_elements() * size_bytes(DType::kFloat32));
    const Tensor x = buffers_.back().tensor(DType::kFloat32, shape);
    for (std::int64_t i = 0; i < x.num_elements(); ++i) {
      x.data<float>()[i] = static_cast<float>(i % 61) / 61.0F - 0.5F;
    }
    return x;
  }

 private:
  std::vector<Buffer> buffers_;
};

void report_flops(benchmark::State& state, double flops_per_iteration) {
  const double total = flops_per_iteration * static_cast<double>(state.iterations());
  state.counters["flops"] = benchmark::Counter(total, benchmark::Counter::kIsRate);
  state.counters["peak"] =
      benchmark::Counter(total / peak_flops({}, DType::kFloat32), benchmark::Counter::kIsRate);
}

void report_bytes(benchmark::State& state, double floats_per_iteration) {
  state.counters["bytes"] = benchmark::Counter(
      floats_per_iteration * 4.0 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

// The three products of a layer of `inputs` and `outputs` on `rows` rows.
void matmul_forward(benchmark::State& state) {
  const std::int64_t rows = state.range(0), inputs = state.range(1), outputs = state.range(2);
  Tensors make;
  const Tensor x = make({rows, inputs}), w = make({outputs, inputs}), y = make({rows, outputs});
  for (auto _ : state) matmul(y, x, w, {.transpose_b = true}, {});
  report_flops(state, 2.0 * static_cast<double>(rows * inputs * outputs));
}

void matmul_input_gradient(benchmark::State& state) {
  const std::int64_t rows = state.range(0), inputs = state.range(1), outputs = state.range(2);
  Tensors make;
  const Tensor dx = make({rows, inputs}), w = make({outputs, inputs}), dy = make({rows, outputs});
  for (auto _ : state) matmul(dx, dy, w, {}, {});
  report_flops(state, 2.0 * static_cast<double>(rows * inputs * outputs));
}

void matmul_weight_gradient(benchmark::State& state) {
  const std::int64_t rows = state.range(0), inputs = state.range(1), outputs = state.range(2);
  Tensors make;
  const Tensor x = make({rows, inputs}), dw = make({outputs, inputs}), dy = make({rows, outputs});
  for (auto _ : state) {
    matmul(dw, dy, x, {.transpose_a = true, .accumulate = true}, {});
    state.PauseTiming();
    fill(dw, 0.0F, {});
    state.ResumeTiming();
  }
  report_flops(state, 2.0 * static_cast<double>(rows * inputs * outputs));
}

void layer_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "inputs", "outputs"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const std::int64_t rows : {kRows, kRows / 4}) {
    b->Args({rows, kWidth, 3 * kWidth})->Args({rows, kWidth, kWidth})->Args({rows, kWidth, 4 * kWidth});
    b->Args({rows, 4 * kWidth, kWidth})->Args({rows, kWidth, kVocabularyStride});
  }
}
BENCHMARK(matmul_forward)->Apply(layer_shapes)->Args({1, kWidth, 3 * kWidth});
BENCHMARK(matmul_input_gradient)->Apply(layer_shapes);
BENCHMARK(matmul_weight_gradient)->Apply(layer_shapes);

void gelu_layer_forward(benchmark::State& state) {
  Tensors make;
  const Tensor x = make({kRows, kWidth}), w = make({4 * kWidth, kWidth}), bias = make({4 * kWidth});
  const Tensor y = make({kRows, 4 * kWidth}), pre = make({kRows, 4 * kWidth});
  for (auto _ : state) linear_activation_forward(y, pre, x, w, bias, Activation::kGeluTanh, {});
  report_flops(state, 2.0 * static_cast<double>(kRows * kWidth * 4 * kWidth));
}
BENCHMARK(gelu_layer_forward)->UseRealTime()->Unit(benchmark::kMillisecond);

// Of the layer after the activation, through it.
void gelu_layer_backward(benchmark::State& state) {
  Tensors make;
  const Tensor x = make({kRows, 4 * kWidth}), w = make({kWidth, 4 * kWidth}), dbias = make({kWidth});
  const Tensor dx = make({kRows, 4 * kWidth}), dw = make({kWidth, 4 * kWidth});
  const Tensor dy = make({kRows, kWidth}), pre = make({kRows, 4 * kWidth});
  for (auto _ : state) linear_backward_through(dx, dw, dbias, dy, x, w, pre, Activation::kGeluTanh, {});
  report_flops(state, 4.0 * static_cast<double>(kRows * kWidth * 4 * kWidth));
}
BENCHMARK(gelu_layer_backward)->UseRealTime()->Unit(benchmark::kMillisecond);

// One input makes the product nothing beside the activation.
void activation_alone_forward(benchmark::State& state, Activation activation) {
  Tensors make;
  const Tensor x = make({kRows, 1}), w = make({4 * kWidth, 1}), bias = make({4 * kWidth});
  const Tensor y = make({kRows, 4 * kWidth}), pre = make({kRows, 4 * kWidth});
  for (auto _ : state) linear_activation_forward(y, pre, x, w, bias, activation, {});
  report_bytes(state, 4.0 * static_cast<double>(kRows * 4 * kWidth));
}
BENCHMARK_CAPTURE(activation_alone_forward, gelu_tanh, Activation::kGeluTanh)->UseRealTime();
BENCHMARK_CAPTURE(activation_alone_forward, gelu, Activation::kGelu)->UseRealTime();
BENCHMARK_CAPTURE(activation_alone_forward, relu, Activation::kRelu)->UseRealTime();
BENCHMARK_CAPTURE(activation_alone_forward, silu, Activation::kSilu)->UseRealTime();

void swiglu(benchmark::State& state, bool backward) {
  Tensors make;
  const Tensor x = make({kRows, 4 * kWidth}), y = make({kRows, 2 * kWidth});
  const Tensor dx = make({kRows, 4 * kWidth}), dy = make({kRows, 2 * kWidth});
  for (auto _ : state) {
    if (backward) {
      gated_activation_backward(dx, dy, x, Activation::kSilu, {});
    } else {
      gated_activation_forward(y, x, Activation::kSilu, {});
    }
  }
  report_bytes(state, (backward ? 5.0 : 3.0) * static_cast<double>(kRows * 2 * kWidth));
}
BENCHMARK_CAPTURE(swiglu, forward, false)->UseRealTime();
BENCHMARK_CAPTURE(swiglu, backward, true)->UseRealTime();

void attention(benchmark::State& state, bool backward) {
  const std::int64_t b = state.range(0), t = state.range(1), h = 12, d = 64;
  Tensors make;
  const Tensor qkv = make({b, t, 3 * h, d}), out = make({b, t, h, d}), lse = make({b, h, t});
  const Tensor dqkv = make({b, t, 3 * h, d}), dout = make({b, t, h, d});
  const Tensor q = qkv.slice(2, 0, h), k = qkv.slice(2, h, 2 * h), v = qkv.slice(2, 2 * h, 3 * h);
  const AttentionOptions options{
      .scale = 0.125F, .causal = true, .dropout = {.probability = state.range(2) * 0.1F}};
  attention_forward(out, lse, q, k, v, options, {});
  for (auto _ : state) {
    if (backward) {
      attention_backward(dqkv.slice(2, 0, h), dqkv.slice(2, h, 2 * h), dqkv.slice(2, 2 * h, 3 * h), dout, out,
                         lse, q, k, v, options, {});
    } else {
      attention_forward(out, lse, q, k, v, options, {});
    }
  }
  // Products of what the mask leaves: two forward, five backward.
  const double visible = static_cast<double>(t * (t + 1)) / 2.0;
  report_flops(state, (backward ? 10.0 : 4.0) * static_cast<double>(b * h * d) * visible);
}
void attention_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"B", "T", "dropout"})->UseRealTime()->Unit(benchmark::kMillisecond);
  b->Args({1, 1024, 0})->Args({4, 256, 0})->Args({1, 1024, 1});
}
BENCHMARK_CAPTURE(attention, forward, false)->Apply(attention_shapes);
BENCHMARK_CAPTURE(attention, backward, true)->Apply(attention_shapes);

// Causal, each query with `window` keys: cost grows with T window.
void windowed_attention(benchmark::State& state, bool backward) {
  const std::int64_t t = state.range(0), window = state.range(1), h = 12, d = 64;
  Tensors make;
  const Tensor q = make({1, t, h, d}), k = make({1, t, h, d}), v = make({1, t, h, d});
  const Tensor out = make({1, t, h, d}), lse = make({1, h, t});
  const Tensor dq = make({1, t, h, d}), dk = make({1, t, h, d}), dv = make({1, t, h, d});
  const AttentionOptions options{.scale = 0.125F, .causal = true, .window = window};
  attention_forward(out, lse, q, k, v, options, {});
  for (auto _ : state) {
    if (backward) {
      attention_backward(dq, dk, dv, out, out, lse, q, k, v, options, {});
    } else {
      attention_forward(out, lse, q, k, v, options, {});
    }
  }
  const double visible = static_cast<double>(t * window - window * (window - 1) / 2);
  report_flops(state, (backward ? 10.0 : 4.0) * static_cast<double>(h * d) * visible);
}
void window_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"T", "window"})->UseRealTime()->Unit(benchmark::kMillisecond);
  b->Args({1024, 256})->Args({4096, 256})->Args({16384, 256})->Args({4096, 4096});
}
BENCHMARK_CAPTURE(windowed_attention, forward, false)->Apply(window_shapes);
BENCHMARK_CAPTURE(windowed_attention, backward, true)->Apply(window_shapes);

// A step of generation: T queries at the end of a cache of 1024 keys.  Bound by reading the cache, once for
// all query heads that share it.
void attention_with_cache(benchmark::State& state) {
  const std::int64_t t = state.range(0), kv_heads = state.range(1), s = 1024, h = 12, d = 64;
  Tensors make;
  const Tensor q = make({1, t, h, d}), out = make({1, t, h, d});
  const Tensor k = make({1, s, kv_heads, d}), v = make({1, s, kv_heads, d});
  const AttentionOptions options{.scale = 0.125F, .causal = true};
  for (auto _ : state) attention_forward(out, {}, q, k, v, options, {});
  report_bytes(state, 2.0 * static_cast<double>(s * kv_heads * d));
}
BENCHMARK(attention_with_cache)
    ->ArgNames({"T", "K"})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond)
    ->Args({1, 12})
    ->Args({1, 3})
    ->Args({2, 12})
    ->Args({4, 12})
    ->Args({8, 12});

// Queries and keys of one projection.
void rope(benchmark::State& state) {
  Tensors make;
  const Tensor qkv = make({1, kRows, 36, 64}), cos = make({kRows, 32}), sin = make({kRows, 32});
  for (auto _ : state) rope_forward(qkv.slice(2, 0, 24), cos, sin, 0, {}, {});
  report_bytes(state, 2.0 * static_cast<double>(kRows * 24 * 64));
}
BENCHMARK(rope)->UseRealTime();

void residual_norm(benchmark::State& state, bool backward) {
  Tensors make;
  const Shape rows = {kRows, kWidth};
  const Tensor residual = make(rows), branch = make(rows), sum = make(rows), y = make(rows);
  const Tensor weight = make({kWidth}), bias = make({kWidth}), dweight = make({kWidth}),
               dbias = make({kWidth});
  const Tensor mean = make({kRows}), rstd = make({kRows}), dsum = make(rows), dbranch = make(rows),
               dy = make(rows);
  const Dropout dropout{.probability = state.range(0) * 0.1F};
  for (auto _ : state) {
    if (backward) {
      residual_norm_backward(dsum, dbranch, dweight, dbias, dy, sum, mean, rstd, weight, dropout, {});
    } else {
      residual_norm_forward(y, sum, mean, rstd, residual, branch, weight, bias, 1e-5F, dropout, {});
    }
  }
  report_bytes(state, (backward ? 5.0 : 4.0) * static_cast<double>(kRows * kWidth));
}
BENCHMARK_CAPTURE(residual_norm, forward, false)->ArgName("dropout")->Arg(0)->Arg(1)->UseRealTime();
BENCHMARK_CAPTURE(residual_norm, backward, true)->ArgName("dropout")->Arg(0)->Arg(1)->UseRealTime();

void cross_entropy(benchmark::State& state, bool backward) {
  constexpr std::int64_t kChunk = 256;
  Tensors make;
  const Tensor logits = make({kChunk, kVocabularyStride}).slice(1, 0, kVocabulary);
  const Tensor lse = make({kChunk}), target_logit = make({kChunk});
  std::vector<std::int32_t> ids(kChunk, 17);
  const Tensor targets(ids.data(), DType::kInt32, {kChunk});
  const Tensor dlogits = make({kChunk, kVocabularyStride}).slice(1, 0, kVocabulary);
  for (auto _ : state) {
    if (backward) {
      cross_entropy_backward(dlogits, logits, lse, targets, 0.0F, 1e-3F, {});
    } else {
      cross_entropy_forward(lse, target_logit, {}, logits, targets, 0.0F, {});
    }
  }
  report_bytes(state, (backward ? 2.0 : 1.0) * static_cast<double>(kChunk * kVocabulary));
}
BENCHMARK_CAPTURE(cross_entropy, forward, false)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(cross_entropy, backward, true)->UseRealTime()->Unit(benchmark::kMillisecond);

void embedding(benchmark::State& state, bool backward) {
  Tensors make;
  const Tensor tokens_table = make({kVocabulary, kWidth}), positions = make({1024, kWidth});
  const Tensor x = make({4, kRows / 4, kWidth});
  std::vector<std::int32_t> ids(kRows);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * 7919 % kVocabulary);
  const Tensor tokens(ids.data(), DType::kInt32, {4, kRows / 4});
  for (auto _ : state) {
    if (backward) {
      embedding_backward(tokens_table, positions, x, tokens, {}, 1.0F, {}, {});
    } else {
      embedding_forward(x, tokens, tokens_table, positions, 0, {}, 1.0F, {}, {});
    }
  }
  report_bytes(state, (backward ? 5.0 : 3.0) * static_cast<double>(kRows * kWidth));
}
BENCHMARK_CAPTURE(embedding, forward, false)->UseRealTime();
BENCHMARK_CAPTURE(embedding, backward, true)->UseRealTime();

void adamw(benchmark::State& state) {
  const std::int64_t n = 124'439'808 / 4;
  Tensors make;
  const Tensor param = make({n}), m = make({n}), v = make({n}), grad = make({n});
  const Tensor factors = make({kNumAdamWFactors});
  fill(v, 1.0F, {});
  const AdamWTable table({{.begin = 0, .end = n}}, {});
  for (auto _ : state) adamw_step(param, {}, m, v, grad, factors, table, {}, {});
  report_bytes(state, 7.0 * static_cast<double>(n));
}
BENCHMARK(adamw)->UseRealTime()->Unit(benchmark::kMillisecond);

void sum_of_squares(benchmark::State& state) {
  Tensors make;
  const Tensor x = make({124'439'808 / 4}), result = make({1});
  for (auto _ : state) accumulate_sum_of_squares(result, x, {});
  report_bytes(state, static_cast<double>(x.num_elements()));
}
BENCHMARK(sum_of_squares)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("threads", std::to_string(trireme::num_threads()));
  benchmark::AddCustomContext("peak_gflops",
                              std::to_string(trireme::peak_flops({}, trireme::DType::kFloat32) / 1e9));
  benchmark::RunSpecifiedBenchmarks();
}
