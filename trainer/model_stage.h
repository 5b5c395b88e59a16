// A rank's part of a model at work on the microbatches of a step, or of a validation.
#pragma once

#include <cstdint>
#include <functional>

#include "parallel/gradient_reducer.h"
#include "parallel/pipeline_runner.h"
#include "trainer/model/pass.h"

namespace trireme {

// A microbatch as a model takes it: Tensors is TextTensors or PairTensors.
template <typename Tensors>
struct Microbatch {
  Tensors tensors;
  Pass pass;
  float scale = 0.0F;  // of the loss whose gradient is taken
};

// Lets a PipelineRunner run the chunks of a Transformer or an EncoderDecoder.
template <typename Model, typename Tensors>
class ModelStage final : public PipelineStage {
 public:
  using Source = std::function<Microbatch<Tensors>(int microbatch)>;

  // To train on so many microbatches: loss[0] and the gradients +=.
  ModelStage(Model& model, Source source, int num_microbatches, int num_stages, Tensor loss_1,
             GradientReducer& reducer)
      : model_(model),
        source_(std::move(source)),
        last_microbatch_(num_microbatches - 1),
        num_stages_(num_stages),
        loss_1_(loss_1),
        reducer_(&reducer) {
    // Of several stages each chunk has its own last pass: it is told by expect_more().
    if (num_stages > 1) reducer.begin(/*is_last_microbatch=*/true);
  }
  // Forward alone: loss[0] +=, on the stage that ends the model.
  ModelStage(Model& model, Source source, Tensor loss_1)
      : model_(model), source_(std::move(source)), loss_1_(loss_1) {}

  DType dtype() const override { return model_.dtype(); }
  std::int64_t elements_in(int chunk, int microbatch) const override {
    return model_.rows_in(chunk, source_(microbatch).tensors) * width();
  }
  std::int64_t elements_out(int chunk, int microbatch) const override {
    return model_.rows_out(chunk, source_(microbatch).tensors) * width();
  }

  void run(const PipelineAction& action, int slot, Tensor in, Tensor out) override {
    using Kind = PipelineAction::Kind;
    Microbatch<Tensors> batch = source_(action.microbatch);
    batch.pass.slot = static_cast<std::size_t>(slot);
    batch.pass.defers_weights = action.kind == Kind::kBackwardInput;
    const bool is_last = action.microbatch == last_microbatch_;
    if (action.kind == Kind::kForward) {
      if (reducer_ != nullptr && num_stages_ == 1) reducer_->begin(is_last);
      model_.forward(action.chunk, batch.tensors, as_rows(in), as_rows(out), batch.pass);
      if (reducer_ == nullptr && model_.ends_in(action.chunk))
        model_.add_loss(loss_1_, batch.tensors, batch.pass);
      return;
    }
    if (num_stages_ > 1) reducer_->expect_more(!is_last);
    if (action.kind == Kind::kBackwardWeights) {
      model_.backward_weights(action.chunk, *reducer_, batch.pass);
    } else {
      model_.backward(action.chunk, loss_1_, batch.tensors, batch.scale, as_rows(in), as_rows(out), *reducer_,
                      batch.pass);
    }
  }

 private:
  std::int64_t width() const { return model_.options().width; }
  Tensor as_rows(Tensor message) const {
    return message ? message.view({message.num_elements() / width(), width()}) : message;
  }

  Model& model_;
  Source source_;
  int last_microbatch_ = 0;
  int num_stages_ = 1;
  Tensor loss_1_;
  GradientReducer* reducer_ = nullptr;
};

}  // namespace trireme
