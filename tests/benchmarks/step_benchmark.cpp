// A whole training step of GPT-2 124M: forward, backward, clipping, AdamW.  One process, made-up tokens.
//
//     build/benchmarks/step_benchmark --benchmark_repetitions=5

#include <vector>

#include <benchmark/benchmark.h>

#include "kernels/elementwise.h"
#include "kernels/speed_of_light.h"
#include "parallel/gradient_reducer.h"
#include "parallel/self_communicator.h"
#include "trainer/model/transformer.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/grad_norm.h"

namespace trireme {
namespace {

void BM_Gpt2Step(benchmark::State& state) {
  const std::int64_t batch = state.range(0);
  const std::int64_t sequence = state.range(1);
  Transformer model({.layers = 12,
                     .width = 768,
                     .heads = 12,
                     .kv_heads = 12,
                     .head_width = 64,
                     .feed_forward = 3072,
                     .context = 1024,
                     .vocabulary = 50257,
                     .init_stddev = 0.02F});
  model.parameters().initialize(1);
  model.allocate({.batch = batch, .sequence = sequence, .training = true});
  AdamW optimizer(model.parameters(), OptimConfig{});
  GradientNorm norm({{0, model.parameters().num_elements()}}, {});
  SelfCommunicator communicator;
  GradientReducer reducer(model.parameters(), communicator, 25 << 20);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(batch * sequence + 1));
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>(i * 7919 % 50257);
  const Tensor inputs(tokens.data(), DType::kInt32, {batch, sequence});
  const Tensor targets(tokens.data() + 1, DType::kInt32, {batch, sequence});
  float loss_sum = 0.0F;
  const Tensor loss(&loss_sum, DType::kFloat32, {1});
  const Stream stream;

  optimizer.set_learning_rate(1e-4, stream);
  for (auto _ : state) {
    fill(model.parameters().gradients(), 0.0F, stream);
    loss_sum = 0.0F;
    reducer.begin(/*is_last_microbatch=*/true);
    model.forward_backward(loss, inputs, targets, 1.0F / static_cast<float>(batch * sequence), reducer,
                           {.batch = batch, .sequence = sequence, .stream = stream});
    reducer.finish(stream);
    const Tensor gradients = model.parameters().gradients();
    optimizer.step(gradients, norm.squared(gradients, stream), loss, stream);
  }
  const double tokens_done = static_cast<double>(state.iterations() * batch * sequence);
  state.counters["tokens/s"] = benchmark::Counter(tokens_done, benchmark::Counter::kIsRate);
  state.counters["of_peak"] =
      benchmark::Counter(tokens_done * model.flops_per_token(sequence) / peak_flops({}, DType::kFloat32),
                         benchmark::Counter::kIsRate);
}
BENCHMARK(BM_Gpt2Step)
    ->Args({4, 64})
    ->Args({4, 256})
    ->Args({1, 1024})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace trireme

BENCHMARK_MAIN();
