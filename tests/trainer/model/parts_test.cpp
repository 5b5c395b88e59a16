// Models in parts, on the stages of a pipeline: the same losses and gradients as of the whole.

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/buffer.h"
#include "parallel/pipeline_schedule.h"
#include "parallel/self_communicator.h"
#include "tests/trainer/model/stage_group.h"
#include "trainer/model/encoder_decoder.h"
#include "trainer/model/transformer.h"

namespace trireme {
namespace {

constexpr std::int64_t kContext = 6;
constexpr std::int64_t kVocabulary = 23;
constexpr int kMicrobatches = 5;

std::vector<std::int32_t> numbers(std::int64_t size, std::int64_t factor) {
  std::vector<std::int32_t> result;
  for (std::int64_t i = 0; i < size; ++i)
    result.push_back(static_cast<std::int32_t>((i * i * factor + i + factor) % kVocabulary));
  return result;
}

// A model as the test sees it: its microbatches, of sizes of their own.
struct DecoderCase {
  using Model = Transformer;
  static constexpr std::int64_t kLayers = 5;

  static TransformerOptions options() {
    return {.layers = kLayers,
            .width = 16,
            .heads = 2,
            .kv_heads = 2,
            .head_width = 8,
            .feed_forward = 40,
            .context = kContext,
            .vocabulary = kVocabulary,
            .init_stddev = 0.2F};
  }
  static void allocate(Model& model, std::size_t slots, Recompute recompute, bool deferred_weights) {
    model.allocate({.batch = 2,
                    .sequence = kContext,
                    .training = true,
                    .slots = slots,
                    .recompute = recompute,
                    .deferred_weights = deferred_weights});
  }

  explicit DecoderCase(int microbatch)
      : batch(microbatch % 2 + 1),
        sequence(kContext - microbatch % 3),
        inputs(numbers(batch * sequence, 7 + microbatch)),
        targets(numbers(batch * sequence, 5)) {}
  TextTensors tensors() {
    return {.inputs_BT = {inputs.data(), DType::kInt32, {batch, sequence}},
            .targets_BT = {targets.data(), DType::kInt32, {batch, sequence}}};
  }
  void complete(Pass& pass) const {
    pass.batch = batch;
    pass.sequence = sequence;
  }
  void forward_backward(Model& model, Tensor loss_1, GradientReducer& reducer, const Pass& pass) {
    model.forward_backward(loss_1, tensors().inputs_BT, tensors().targets_BT, 0.5F, reducer, pass);
  }

  std::int64_t batch;
  std::int64_t sequence;
  std::vector<std::int32_t> inputs, targets;
};

struct PairsCase {
  using Model = EncoderDecoder;
  static constexpr std::int64_t kLayers = 5;

  static TransformerOptions options() {
    TransformerOptions options = DecoderCase::options();
    options.kind = ModelKind::kEncoderDecoder;
    options.encoder_layers = 3;
    options.layers = kLayers - options.encoder_layers;
    return options;
  }
  static void allocate(Model& model, std::size_t slots, Recompute recompute, bool deferred_weights) {
    model.allocate({.source_tokens = 2 * kContext,
                    .target_tokens = 2 * kContext,
                    .training = true,
                    .slots = slots,
                    .recompute = recompute,
                    .deferred_weights = deferred_weights});
  }

  explicit PairsCase(int microbatch)
      : batch(microbatch % 2 + 1),
        source_length(kContext - microbatch % 3),
        target_length(kContext - microbatch % 4),
        sources(numbers(batch * source_length, 7 + microbatch)),
        inputs(numbers(batch * target_length, 3)),
        outputs(numbers(batch * target_length, 5)),
        lengths(static_cast<std::size_t>(batch), static_cast<std::int32_t>(source_length)) {
    --lengths.front();
  }
  PairTensors tensors() {
    return {.sources_BS = {sources.data(), DType::kInt32, {batch, source_length}},
            .source_lengths_B = {lengths.data(), DType::kInt32, {batch}},
            .target_inputs_BT = {inputs.data(), DType::kInt32, {batch, target_length}},
            .target_outputs_BT = {outputs.data(), DType::kInt32, {batch, target_length}}};
  }
  void complete(Pass&) const {}
  void forward_backward(Model& model, Tensor loss_1, GradientReducer& reducer, const Pass& pass) {
    model.forward_backward(loss_1, tensors(), 0.5F, reducer, pass);
  }

  std::int64_t batch;
  std::int64_t source_length;
  std::int64_t target_length;
  std::vector<std::int32_t> sources, inputs, outputs, lengths;
};

Pass pass_of(int microbatch, float dropout) {
  return {.dropout = {.probability = dropout,
                      .attention_probability = dropout,
                      .seed = 9,
                      .step = 2,
                      .first_sequence = 2 * microbatch},
          .label_smoothing = 0.1F};
}

// The stages of one model, in this process.
template <typename Case>
class Pipeline {
 public:
  using Model = typename Case::Model;

  Pipeline(const TransformerOptions& options, const PipelineShape& shape,
           const std::vector<LayerRange>& parts, Recompute recompute, float dropout)
      : shape_(shape), dropout_(dropout), groups_(StageGroup::make(shape.num_stages)) {
    for (int stage = 0; stage < shape.num_stages; ++stage) {
      stages_.push_back({.schedule = pipeline_schedule(shape, stage)});
      Stage& made = stages_.back();
      made.model = std::make_unique<Model>(
          options, ParameterMemory::kValuesAndGradients,
          ModelShare{.pipeline = groups_[static_cast<std::size_t>(stage)].get(), .parts = parts});
      made.model->parameters().initialize(5);
      made.slots = static_cast<std::size_t>(max_activations(shape, stage));
      Case::allocate(*made.model, made.slots, recompute, shape.kind == PipelineKind::kZeroBubble);
      made.reducer = std::make_unique<GradientReducer>(made.model->parameters(), self_, 1024);
      made.reducer->begin(/*is_last_microbatch=*/true);
    }
  }

  // Every stage's schedule; each waits for its messages.  Returns the loss.
  float run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (int stage = 0; stage < shape_.num_stages; ++stage) {
        while (act(stage)) moved = true;
      }
    }
    for (Stage& stage : stages_) {
      EXPECT_EQ(stage.next, stage.schedule.size()) << "the pipeline is stuck";
      stage.reducer->finish({});
    }
    return loss_;
  }

  Model& model(int stage) { return *stages_[static_cast<std::size_t>(stage)].model; }

 private:
  struct Stage {
    std::vector<PipelineAction> schedule;
    std::unique_ptr<Model> model;
    std::unique_ptr<GradientReducer> reducer;
    std::size_t slots = 0;
    std::size_t next = 0;
  };
  struct Message {
    explicit Message(std::int64_t rows)
        : memory(rows * 16 * size_bytes(DType::kFloat32)),
          tensor(rows > 0 ? memory.tensor(DType::kFloat32, {rows, 16}) : Tensor()) {}
    Buffer memory;
    Tensor tensor;
  };
  struct Key {
    int stage, chunk, microbatch;
    bool is_gradient;
    auto operator<=>(const Key&) const = default;
  };

  // The next action of a stage, if what it needs is there.
  bool act(int index) {
    Stage& stage = stages_[static_cast<std::size_t>(index)];
    if (stage.next == stage.schedule.size()) return false;
    const PipelineAction& action = stage.schedule[stage.next];
    using Kind = PipelineAction::Kind;
    const bool is_forward = action.kind == Kind::kForward;
    const Key key{index, action.chunk, action.microbatch, !is_forward};
    if (source_of(shape_, index, action) && !inbox_.contains(key)) return false;
    ++stage.next;

    Case batch(action.microbatch);
    Pass pass = pass_of(action.microbatch, dropout_);
    batch.complete(pass);
    pass.slot = static_cast<std::size_t>(action.microbatch) % stage.slots;
    pass.defers_weights = action.kind == Kind::kBackwardInput;
    stage.reducer->expect_more(action.microbatch + 1 < shape_.num_microbatches);
    if (action.kind == Kind::kBackwardWeights) {
      stage.model->backward_weights(action.chunk, *stage.reducer, pass);
      return true;
    }
    const std::int64_t rows_in = stage.model->rows_in(action.chunk, batch.tensors());
    const std::int64_t rows_out = stage.model->rows_out(action.chunk, batch.tensors());
    auto received = inbox_.extract(key);
    const Tensor in = received ? received.mapped()->tensor : Tensor();
    EXPECT_EQ(in ? in.dim(0) : 0, is_forward ? rows_in : rows_out);
    auto sent = std::make_unique<Message>(is_forward ? rows_out : rows_in);
    if (is_forward) {
      stage.model->forward(action.chunk, batch.tensors(), in, sent->tensor, pass);
    } else {
      stage.model->backward(action.chunk, {&loss_, DType::kFloat32, {1}}, batch.tensors(), 0.5F, in,
                            sent->tensor, *stage.reducer, pass);
    }
    if (const auto to = destination_of(shape_, index, action))
      inbox_.emplace(Key{to->stage, to->chunk, action.microbatch, !is_forward}, std::move(sent));
    return true;
  }

  PipelineShape shape_;
  float dropout_;
  std::vector<std::unique_ptr<StageGroup>> groups_;
  SelfCommunicator self_;
  std::vector<Stage> stages_;
  std::map<Key, std::unique_ptr<Message>> inbox_;
  float loss_ = 0.0F;
};

struct Layout {
  PipelineKind kind;
  int stages;
  std::vector<LayerRange> parts;
};

// Some uneven; of the encoder-decoder's five layers three are the encoder's: a part begins behind them, or
// within them, or has some of both.
const Layout kLayouts[] = {
    {PipelineKind::kGPipe, 2, {{0, 3}, {3, 5}}},
    {PipelineKind::kOneForwardOneBackward, 2, {{0, 2}, {2, 5}}},
    {PipelineKind::kOneForwardOneBackward, 3, {{0, 1}, {1, 4}, {4, 5}}},
    {PipelineKind::kOneForwardOneBackward, 5, {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}}},
    {PipelineKind::kZeroBubble, 2, {{0, 2}, {2, 5}}},
    {PipelineKind::kZeroBubble, 4, {{0, 1}, {1, 2}, {2, 4}, {4, 5}}},
    {PipelineKind::kInterleaved, 2, {{0, 1}, {1, 2}, {2, 4}, {4, 5}}},
};

std::vector<float> values(Tensor x) {
  return {x.data<float>(), x.data<float>() + x.num_elements()};
}

template <typename Case>
void expect_parts_to_be_the_whole(const TransformerOptions& options, const Layout& layout,
                                  Recompute recompute, float dropout) {
  typename Case::Model whole(options);
  whole.parameters().initialize(5);
  Case::allocate(whole, 1, Recompute::kNone, /*deferred_weights=*/false);
  SelfCommunicator self;
  GradientReducer reducer(whole.parameters(), self, 1024);
  float loss = 0.0F;
  const int microbatches = layout.kind == PipelineKind::kInterleaved ? 6 : kMicrobatches;
  for (int i = 0; i < microbatches; ++i) {
    Case batch(i);
    Pass pass = pass_of(i, dropout);
    batch.complete(pass);
    reducer.begin(i + 1 == microbatches);
    batch.forward_backward(whole, {&loss, DType::kFloat32, {1}}, reducer, pass);
  }
  reducer.finish({});

  const PipelineShape shape{.kind = layout.kind,
                            .num_stages = layout.stages,
                            .num_microbatches = microbatches,
                            .num_chunks = static_cast<int>(layout.parts.size()) / layout.stages};
  Pipeline<Case> pipeline(options, shape, layout.parts, recompute, dropout);
  EXPECT_EQ(pipeline.run(), loss);

  for (const Parameter& parameter : whole.parameters().parameters()) {
    std::vector<float> sum;
    int holders = 0, owners = 0;
    for (int stage = 0; stage < layout.stages; ++stage) {
      for (const Parameter& part : pipeline.model(stage).parameters().parameters()) {
        if (part.name != parameter.name) continue;
        EXPECT_EQ(values(part.value), values(parameter.value)) << part.name;
        EXPECT_EQ(part.weight_decay, parameter.weight_decay);
        const std::vector<float> gradient = values(part.gradient);
        sum.resize(gradient.size());
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += gradient[i];
        ++holders;
        if (part.replicas.empty() || part.replicas[0].group->rank() == 0) ++owners;
        if (!part.replicas.empty()) {
          EXPECT_TRUE(part.replicas[0].is_partial);
          EXPECT_EQ(part.replicas[0].elements, (FlatRange{0, parameter.shape.num_elements()}));
        }
        for (const Replica& replica : part.replicas) EXPECT_GT(replica.group->size(), 1);
      }
    }
    EXPECT_EQ(owners, 1) << parameter.name;
    const std::vector<float> expected = values(parameter.gradient);
    if (parameter.name.find("embedding.token") == std::string::npos) {
      EXPECT_EQ(holders, 1) << parameter.name;
      EXPECT_EQ(sum, expected) << parameter.name;
      continue;
    }
    // Those who use a tied table take turns in another order.
    ASSERT_EQ(sum.size(), expected.size());
    for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_NEAR(sum[i], expected[i], 2e-6) << parameter.name;
  }
}

TEST(Parts, OfADecoderAreTheWhole) {
  for (const Layout& layout : kLayouts) {
    for (const bool tied : {true, false}) {
      for (const NormPlacement placement : {NormPlacement::kPre, NormPlacement::kPost}) {
        TransformerOptions options = DecoderCase::options();
        options.tied_embeddings = tied;
        options.norm_placement = placement;
        SCOPED_TRACE(std::string(name(layout.kind)) + " " + std::to_string(layout.stages));
        expect_parts_to_be_the_whole<DecoderCase>(options, layout, Recompute::kNone, tied ? 0.0F : 0.2F);
      }
    }
  }
}

TEST(Parts, OfAnEncoderDecoderAreTheWhole) {
  for (const Layout& layout : kLayouts) {
    for (const bool tied : {true, false}) {
      for (const bool tied_source : {true, false}) {
        TransformerOptions options = PairsCase::options();
        options.tied_embeddings = tied;
        options.tied_source_embedding = tied_source;
        options.norm_placement = tied == tied_source ? NormPlacement::kPre : NormPlacement::kPost;
        SCOPED_TRACE(std::string(name(layout.kind)) + " " + std::to_string(layout.stages) +
                     (tied ? " tied" : "") + (tied_source ? " tied_source" : ""));
        expect_parts_to_be_the_whole<PairsCase>(options, layout, Recompute::kNone, tied ? 0.2F : 0.0F);
      }
    }
  }
}

TEST(Parts, DeferWeightsOfEveryKindOfLayer) {
  for (const bool gated : {false, true}) {
    for (const bool biased : {false, true}) {
      TransformerOptions options = PairsCase::options();
      options.activation = gated ? FeedForward::kSwiglu : FeedForward::kRelu;
      options.biases = biased ? Biases::kAll : Biases::kNone;
      options.kv_heads = 1;
      options.positions = Positions::kRope;
      options.cross_positions = true;
      for (const NormPlacement placement : {NormPlacement::kPre, NormPlacement::kPost}) {
        options.norm_placement = placement;
        for (const float dropout : {0.0F, 0.2F})
          expect_parts_to_be_the_whole<PairsCase>(options, kLayouts[5], Recompute::kNone, dropout);
      }
    }
  }
}

TEST(Parts, GiveWeightsTheirGradientsLater) {
  Transformer model(DecoderCase::options());
  model.parameters().initialize(5);
  DecoderCase::allocate(model, 1, Recompute::kNone, /*deferred_weights=*/true);
  SelfCommunicator self;
  GradientReducer reducer(model.parameters(), self, 1024);
  DecoderCase batch(0);
  Pass pass = pass_of(0, 0.1F);
  batch.complete(pass);
  pass.defers_weights = true;
  reducer.begin(/*is_last_microbatch=*/true);
  float loss = 0.0F;
  batch.forward_backward(model, {&loss, DType::kFloat32, {1}}, reducer, pass);
  const auto num_untouched = [&] {
    std::int64_t count = 0;
    for (const Parameter& parameter : model.parameters().parameters()) {
      const std::vector<float> gradient = values(parameter.gradient);
      if (std::all_of(gradient.begin(), gradient.end(), [](float g) { return g == 0.0F; })) ++count;
    }
    return count;
  };
  EXPECT_EQ(num_untouched(), 8 * DecoderCase::kLayers) << "weights and biases of qkv, out, in and out";
  model.backward_weights(/*chunk=*/0, reducer, pass);
  EXPECT_EQ(num_untouched(), 0);
  reducer.finish({});
}

// Blocks that are recomputed share memory with all microbatches under way.
TEST(Parts, AreRecomputed) {
  for (const Recompute recompute : {Recompute::kSelective, Recompute::kFull}) {
    for (const NormPlacement placement : {NormPlacement::kPre, NormPlacement::kPost}) {
      for (const Layout& layout : {kLayouts[2], kLayouts[5], kLayouts[6]}) {
        TransformerOptions options = DecoderCase::options();
        options.norm_placement = placement;
        options.activation = FeedForward::kSwiglu;
        expect_parts_to_be_the_whole<DecoderCase>(options, layout, recompute, 0.2F);
        TransformerOptions pairs = PairsCase::options();
        pairs.norm_placement = placement;
        expect_parts_to_be_the_whole<PairsCase>(pairs, layout, recompute, 0.2F);
      }
    }
  }
}

}  // namespace
}  // namespace trireme
