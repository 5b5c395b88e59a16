#include "tests/benchmarks/training_step.h"

#include <algorithm>

#include <cuda_runtime_api.h>

#include "kernels/cuda/check.h"
#include "kernels/cuda/stream_state.h"
#include "kernels/cuda/timing.h"
#include "kernels/elementwise.h"
#include "parallel/gradient_reducer.h"
#include "parallel/self_communicator.h"
#include "tests/benchmarks/device_operands.h"
#include "trainer/model/transformer.h"
#include "trainer/optim/adamw.h"
#include "trainer/optim/grad_norm.h"

namespace trireme {
namespace {

std::int64_t free_bytes(Device device) {
  cuda::make_current(device);
  std::size_t free = 0, total = 0;
  TRIREME_CUDA(cudaMemGetInfo(&free, &total));
  return static_cast<std::int64_t>(free);
}

// A model of so many layers with all that its training needs.
class Training {
 public:
  Training(TransformerOptions options, std::int64_t layers, std::int64_t batch, std::int64_t sequence,
           Device device)
      : stream_(device),
        model_(with_layers(options, layers), ParameterMemory::kValuesAndGradients, {.stream = stream_}),
        optimizer_(model_.parameters(), OptimConfig{}),
        norm_({{0, model_.parameters().num_elements()}}, {}, device),
        reducer_(model_.parameters(), communicator_, 25 << 20),
        operands_(device),
        inputs_(operands_.ids({batch, sequence}, options.vocabulary)),
        targets_(operands_.ids({batch, sequence}, options.vocabulary - 1)),
        loss_(operands_.zeros(DType::kFloat32, {1})),
        scale_(1.0F / static_cast<float>(batch * sequence)),
        pass_{.batch = batch, .sequence = sequence, .stream = stream_} {
    model_.parameters().initialize(1, stream_);
    model_.allocate({.batch = batch, .sequence = sequence, .training = true});
  }

  static TransformerOptions with_layers(TransformerOptions options, std::int64_t layers) {
    options.layers = layers;
    return options;
  }

  Stream stream() const { return stream_; }
  double flops() const {
    return model_.flops_per_token(pass_.sequence) * static_cast<double>(pass_.batch * pass_.sequence);
  }
  void forward() { model_.forward_loss(loss_, inputs_, targets_, pass_); }
  void optimize() {
    const Tensor gradients = model_.parameters().gradients();
    optimizer_.set_learning_rate(1e-6, stream_);
    optimizer_.step(gradients, norm_.squared(gradients, stream_), loss_, stream_);
  }
  void step() {
    reducer_.clear(stream_);
    fill(loss_, 0.0F, stream_);
    reducer_.begin(/*is_last_microbatch=*/true);
    model_.forward_backward(loss_, inputs_, targets_, scale_, reducer_, pass_);
    reducer_.finish(stream_);
    optimize();
  }

 private:
  const DeviceStream stream_;
  Transformer model_;
  AdamW optimizer_;
  GradientNorm norm_;
  SelfCommunicator communicator_;
  GradientReducer reducer_;
  DeviceOperands operands_;
  const Tensor inputs_, targets_, loss_;
  const float scale_;
  const Pass pass_;
};

// What the device has left beside a training that has done a step.
std::int64_t free_beside(const TransformerOptions& options, std::int64_t layers, std::int64_t batch,
                         std::int64_t sequence, Device device) {
  Training training(options, layers, batch, sequence, device);
  training.step();
  training.stream().synchronize();
  return free_bytes(device);
}

// 0 if there is no room for two.
std::int64_t layers_that_fit(const TransformerOptions& options, std::int64_t batch, std::int64_t sequence,
                             Device device) {
  const std::int64_t free = free_bytes(device);
  Transformer two(Training::with_layers(options, 2), ParameterMemory::kNone);
  // Values, gradients and moments; and as much again for all else.
  if (2 * 16 * two.parameters().num_elements() > free) return 0;
  const std::int64_t beside_one = free_beside(options, 1, batch, sequence, device);
  const std::int64_t beside_two = free_beside(options, 2, batch, sequence, device);
  const std::int64_t layer = std::max<std::int64_t>(1, beside_one - beside_two);
  const std::int64_t spare = free / 20;
  return std::clamp<std::int64_t>(1 + (beside_one - spare) / layer, 1, options.layers);
}

}  // namespace

std::optional<StepTimes> time_training_step(TransformerOptions options, std::int64_t batch,
                                            std::int64_t sequence, Device device, int repetitions) {
  const std::int64_t layers = layers_that_fit(options, batch, sequence, device);
  if (layers == 0) return std::nullopt;
  Training training(options, layers, batch, sequence, device);
  const auto time = [&](void (Training::*part)()) {
    return cuda::time_ms([&] { (training.*part)(); }, training.stream(), repetitions);
  };
  StepTimes times{.layers = layers, .flops = training.flops()};
  times.step_ms = time(&Training::step);
  times.forward_ms = time(&Training::forward);
  times.optimizer_ms = time(&Training::optimize);
  times.backward_ms = times.step_ms - times.forward_ms - times.optimizer_ms;
  const double of_whole = Transformer(options, ParameterMemory::kNone).flops_per_token(sequence);
  times.tokens_per_second = times.flops / of_whole / times.step_ms * 1e3;
  return times;
}

}  // namespace trireme
