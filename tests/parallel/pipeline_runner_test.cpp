// A toy model through pipelines of all ranks, against the same model on one.
#include "parallel/pipeline_runner.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/ranks.h"

namespace trireme {
namespace {

using Kind = PipelineAction::Kind;
using Values = std::vector<float>;

constexpr std::size_t kWidth = 8;

std::int64_t elements_of(int microbatch) {
  return 5 + 301 * (microbatch % 4);
}

// y = w tanh(x), elementwise; w repeats.
struct Layer {
  Values w, dw = Values(kWidth);

  explicit Layer(int index) : w(kWidth) {
    for (std::size_t i = 0; i < kWidth; ++i)
      w[i] = 0.5F + 0.01F * static_cast<float>(index) + 0.03F * static_cast<float>(i);
  }
};

// What a layer keeps of a microbatch.
struct Kept {
  Values tanh_x, dy;
};

// A chunk has some parts of the model, and part k has 1 + k % 3 layers.
class ToyStage final : public PipelineStage {
 public:
  ToyStage(std::vector<std::vector<int>> parts_of_chunk, int num_parts, int num_slots,
           std::chrono::milliseconds pause = {})
      : chunks_(parts_of_chunk.size()), pause_(pause) {
    for (std::size_t c = 0; c < chunks_.size(); ++c) {
      Chunk& chunk = chunks_[c];
      chunk.is_first = parts_of_chunk[c].front() == 0;
      chunk.is_last = parts_of_chunk[c].back() == num_parts - 1;
      for (const int part : parts_of_chunk[c]) {
        for (int layer = 0; layer <= part % 3; ++layer) chunk.layers.emplace_back(10 * part + layer);
        chunk.layers_of_part.push_back(1 + part % 3);
      }
      chunk.slots.resize(static_cast<std::size_t>(num_slots));
    }
  }

  std::int64_t elements_in(int chunk, int microbatch) const override {
    return of(chunk).is_first ? 0 : elements_of(microbatch);
  }
  std::int64_t elements_out(int chunk, int microbatch) const override {
    return of(chunk).is_last ? 0 : elements_of(microbatch);
  }

  void run(const PipelineAction& action, int slot, Tensor in, Tensor out) override {
    if (pause_.count() > 0) std::this_thread::sleep_for(pause_);
    done.push_back(action);
    Chunk& chunk = chunks_[static_cast<std::size_t>(action.chunk)];
    Slot& kept = chunk.slots.at(static_cast<std::size_t>(slot));
    if (action.kind == Kind::kForward) {
      if (!is_forward_only) {
        ASSERT_FALSE(kept.microbatch) << "a slot was given away that still holds activations";
        most_held = std::max(most_held, ++held_);
      }
      kept.microbatch = action.microbatch;
      forward(chunk, kept, in, out);
      return;
    }
    ASSERT_EQ(kept.microbatch, action.microbatch);
    if (action.kind != Kind::kBackwardWeights) backward_input(chunk, kept, in, out);
    if (action.kind == Kind::kBackwardInput) return;
    backward_weights(chunk, kept);
    kept.microbatch.reset();
    --held_;
  }

  // Gradients of part i of a chunk.
  Values gradients(int chunk, int i) const {
    const Chunk& of_chunk = of(chunk);
    std::size_t begin = 0;
    for (int before = 0; before < i; ++before)
      begin += static_cast<std::size_t>(of_chunk.layers_of_part[static_cast<std::size_t>(before)]);
    Values all;
    for (int l = 0; l < of_chunk.layers_of_part[static_cast<std::size_t>(i)]; ++l) {
      const Values& dw = of_chunk.layers[begin + static_cast<std::size_t>(l)].dw;
      all.insert(all.end(), dw.begin(), dw.end());
    }
    return all;
  }

  std::vector<PipelineAction> done;
  int most_held = 0;
  bool is_forward_only = false;
  float loss = 0.0F;

 private:
  struct Slot {
    std::optional<int> microbatch;
    std::vector<Kept> layers;
  };
  struct Chunk {
    std::vector<Layer> layers;
    std::vector<int> layers_of_part;
    std::vector<Slot> slots;
    bool is_first = false;
    bool is_last = false;
  };

  const Chunk& of(int chunk) const { return chunks_[static_cast<std::size_t>(chunk)]; }

  static Values values_of(const Tensor& x) { return {x.data<float>(), x.data<float>() + x.num_elements()}; }
  static void write(const Values& values, Tensor out) {
    ASSERT_EQ(out.num_elements(), std::ssize(values));
    std::copy(values.begin(), values.end(), out.data<float>());
  }

  void forward(Chunk& chunk, Slot& slot, const Tensor& in, Tensor out) {
    Values x(static_cast<std::size_t>(elements_of(*slot.microbatch)));
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] = std::sin(0.1F * static_cast<float>(i + 17 * static_cast<std::size_t>(*slot.microbatch)));
    if (!chunk.is_first) x = values_of(in);
    slot.layers.assign(chunk.layers.size(), {});
    for (std::size_t l = 0; l < chunk.layers.size(); ++l) {
      slot.layers[l].tanh_x = x;
      for (float& value : slot.layers[l].tanh_x) value = std::tanh(value);
      for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = chunk.layers[l].w[i % kWidth] * slot.layers[l].tanh_x[i];
    }
    if (!chunk.is_last) return write(x, out);
    for (const float value : x) loss += value;
  }

  void backward_input(Chunk& chunk, Slot& slot, const Tensor& in, Tensor out) {
    Values dy(static_cast<std::size_t>(elements_of(*slot.microbatch)), 1.0F);
    if (!chunk.is_last) dy = values_of(in);
    for (std::size_t l = chunk.layers.size(); l-- > 0;) {
      slot.layers[l].dy = dy;
      for (std::size_t i = 0; i < dy.size(); ++i) {
        const float t = slot.layers[l].tanh_x[i];
        dy[i] = dy[i] * chunk.layers[l].w[i % kWidth] * (1.0F - t * t);
      }
    }
    if (!chunk.is_first) write(dy, out);
  }

  static void backward_weights(Chunk& chunk, const Slot& slot) {
    for (std::size_t l = 0; l < chunk.layers.size(); ++l) {
      const Kept& kept = slot.layers[l];
      for (std::size_t i = 0; i < kept.dy.size(); ++i)
        chunk.layers[l].dw[i % kWidth] += kept.dy[i] * kept.tanh_x[i];
    }
  }

  std::vector<Chunk> chunks_;
  std::chrono::milliseconds pause_;
  int held_ = 0;
};

class PipelineRunnerTest : public testing::Test {
 protected:
  PipelineRunner runner(PipelineKind kind, int num_chunks) {
    return PipelineRunner(*there_, *back_, kind, num_chunks);
  }
  // What a stage has, of as many parts as there are stages and chunks.
  ToyStage stage(int num_chunks, int num_slots, std::chrono::milliseconds pause = {}) const {
    std::vector<std::vector<int>> parts;
    for (int c = 0; c < num_chunks; ++c) parts.push_back({c * size_ + rank_});
    return {parts, num_chunks * size_, num_slots, pause};
  }
  // Each schedule that has one among these stages.
  std::vector<std::pair<PipelineKind, int>> schedules() const {
    std::vector<std::pair<PipelineKind, int>> all{
        {PipelineKind::kGPipe, 1}, {PipelineKind::kOneForwardOneBackward, 1}, {PipelineKind::kZeroBubble, 1}};
    if (size_ > 1) all.insert(all.end(), {{PipelineKind::kInterleaved, 2}, {PipelineKind::kInterleaved, 3}});
    return all;
  }
  // The whole model on one rank.
  std::unique_ptr<ToyStage> whole(int num_parts, int num_microbatches, int num_steps) {
    const auto alone = world_.split(rank_, 0, "alone");
    const auto alone_back = world_.split(rank_, 0, "alone back");
    PipelineRunner runner(*alone, *alone_back, PipelineKind::kGPipe, 1);
    std::vector<int> parts;
    for (int part = 0; part < num_parts; ++part) parts.push_back(part);
    EXPECT_EQ(runner.num_slots(num_microbatches), 1);
    auto stage = std::make_unique<ToyStage>(std::vector<std::vector<int>>{parts}, num_parts, 1);
    for (int step = 0; step < num_steps; ++step) runner.run(*stage, num_microbatches, Stream());
    EXPECT_FALSE(runner.take_bubble(Stream()));
    EXPECT_EQ(alone->traffic().bytes_received + alone_back->traffic().bytes_received, 0);
    return stage;
  }

  Communicator& world_ = test_process().world();
  const int rank_ = world_.rank();
  const int size_ = world_.size();
  const std::unique_ptr<Communicator> there_ = world_.split(0, rank_, "pp");
  const std::unique_ptr<Communicator> back_ = world_.split(0, rank_, "pp back");
};

TEST_F(PipelineRunnerTest, GivesTheBitsOfOneStage) {
  constexpr int kSteps = 3;  // memory of messages is used again, for others
  for (const auto& [kind, num_chunks] : schedules()) {
    for (const int rounds : {1, 2}) {
      const int num_microbatches = rounds * size_ + (kind == PipelineKind::kInterleaved ? 0 : 1);
      SCOPED_TRACE(testing::Message() << name(kind) << ", " << num_chunks << " chunks, " << num_microbatches);
      PipelineRunner pipeline = runner(kind, num_chunks);
      ToyStage part = stage(num_chunks, pipeline.num_slots(num_microbatches));
      for (int step = 0; step < kSteps; ++step) pipeline.run(part, num_microbatches, Stream());

      const auto expected = whole(num_chunks * size_, num_microbatches, kSteps);
      for (int chunk = 0; chunk < num_chunks; ++chunk)
        EXPECT_EQ(part.gradients(chunk, 0), expected->gradients(0, chunk * size_ + rank_));
      EXPECT_EQ(part.loss, rank_ == size_ - 1 ? expected->loss : 0.0F);
    }
  }
}

TEST_F(PipelineRunnerTest, KeepsToTheScheduleAndItsActivations) {
  for (const auto& [kind, num_chunks] : schedules()) {
    const int num_microbatches = 2 * size_;
    SCOPED_TRACE(testing::Message() << name(kind) << ", " << num_chunks << " chunks");
    PipelineRunner pipeline = runner(kind, num_chunks);
    const PipelineShape shape = pipeline.shape(num_microbatches);
    ToyStage part = stage(num_chunks, pipeline.num_slots(num_microbatches));
    pipeline.run(part, num_microbatches, Stream());
    EXPECT_EQ(part.done, pipeline_schedule(shape, rank_));
    EXPECT_LE(part.most_held, max_activations(shape, rank_));
  }
}

TEST_F(PipelineRunnerTest, MovesAsManyBytesAsItsFormula) {
  for (const auto& [kind, num_chunks] : schedules()) {
    const int num_microbatches = 2 * size_;
    SCOPED_TRACE(testing::Message() << name(kind) << ", " << num_chunks << " chunks");
    PipelineRunner pipeline = runner(kind, num_chunks);
    ToyStage part = stage(num_chunks, pipeline.num_slots(num_microbatches));
    const Traffic there = there_->traffic(), back = back_->traffic();
    pipeline.run(part, num_microbatches, Stream());
    std::int64_t bytes = 0;
    for (int m = 0; m < num_microbatches; ++m) bytes += elements_of(m) * size_bytes(DType::kFloat32);
    const int firsts = rank_ == 0 ? 1 : 0, lasts = rank_ == size_ - 1 ? 1 : 0;
    EXPECT_EQ((there_->traffic() - there).bytes_received, bytes * (num_chunks - firsts));
    EXPECT_EQ((back_->traffic() - back).bytes_received, bytes * (num_chunks - lasts));
  }
}

TEST_F(PipelineRunnerTest, GoesForwardAlone) {
  for (const auto& [kind, num_chunks] : schedules()) {
    SCOPED_TRACE(testing::Message() << name(kind) << ", " << num_chunks << " chunks");
    PipelineRunner pipeline = runner(kind, num_chunks);
    ToyStage part = stage(num_chunks, 1);
    part.is_forward_only = true;
    const int num_microbatches = 2 * size_ + 1;  // as many as there are, whatever the schedule takes
    pipeline.run_forward(part, num_microbatches, Stream());
    const auto expected = whole(num_chunks * size_, num_microbatches, 1);
    EXPECT_EQ(part.loss, rank_ == size_ - 1 ? expected->loss : 0.0F);
    for (int chunk = 0; chunk < num_chunks; ++chunk)
      for (const float dw : part.gradients(chunk, 0)) EXPECT_EQ(dw, 0.0F);
  }
}

// Pauses need no core, so that the costs are known however many ranks share the machine's.
TEST_F(PipelineRunnerTest, ForecastsTheBubbleThatItMeasures) {
  if (size_ == 1) GTEST_SKIP() << "one stage has no bubble";
  const int num_microbatches = 2 * size_;
  PipelineRunner pipeline = runner(PipelineKind::kOneForwardOneBackward, 1);
  EXPECT_FALSE(pipeline.take_bubble(Stream())) << "before any step";
  ToyStage part = stage(1, pipeline.num_slots(num_microbatches), std::chrono::milliseconds(4));
  pipeline.run(part, num_microbatches, Stream());
  const auto bubble = pipeline.take_bubble(Stream());
  ASSERT_TRUE(bubble);
  const double expected = (size_ - 1.0) / (num_microbatches + size_ - 1.0);
  EXPECT_NEAR(bubble->forecast, expected, 0.1);
  EXPECT_GT(bubble->measured, bubble->forecast - 0.05);
  EXPECT_LT(bubble->measured, bubble->forecast + 0.3);
  EXPECT_FALSE(pipeline.take_bubble(Stream())) << "no step since the last call";
}

}  // namespace
}  // namespace trireme
