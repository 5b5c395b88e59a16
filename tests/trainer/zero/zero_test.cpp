// What data ranks share among them instead of each having all of it changes nothing that is computed.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "data/prepare.h"
#include "data/prepare_pairs.h"
#include "parallel/self_communicator.h"
#include "tests/support/ranks.h"
#include "tests/support/temp_dir.h"
#include "trainer/training_engine.h"

namespace trireme {
namespace {

using Overrides = std::vector<std::string>;

Overrides operator+(Overrides a, const Overrides& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Course {
  std::vector<StepOutcome> steps;
  std::vector<float> values;
};

constexpr int kSteps = 10;

class Zero : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    Communicator& world = test_process().world();
    std::array<std::int32_t, 256> path{};
    if (world.rank() == 0) {
      folder_ = std::make_unique<TempDir>();
      std::ofstream text(*folder_ / "text.txt");
      for (int i = 0; i < 400; ++i)
        text << "%\nShip " << i % 50 << " called the stroke " << i * i % 97 << " times, and the oars fell.\n";
      text.close();
      PrepareOptions options;
      options.inputs = {*folder_ / "text.txt"};
      options.output = *folder_ / "data";
      options.tokenizer = "byte";
      options.documents.separator = "%";
      prepare(options, [](const PrepareProgress&) {});
      prepare_pairs_too(options);
      std::copy(options.output.begin(), options.output.end(), path.begin());
    }
    const Tensor shared(path.data(), DType::kInt32, {std::ssize(path)});
    world.wait(world.broadcast(shared, 0, {}), {});
    data_.assign(path.begin(), std::find(path.begin(), path.end(), 0));
  }
  static void TearDownTestSuite() {
    test_process().world().barrier();
    folder_.reset();
  }

  // Sentences of 1 to 6 words.
  static void prepare_pairs_too(const PrepareOptions& options) {
    std::ofstream tsv(*folder_ / "pairs.tsv");
    for (int i = 0; i < 600; ++i) {
      std::string source, target;
      for (int word = 0; word <= i % 6; ++word) {
        source += " " + std::to_string(i * (word + 1) % 41);
        target += " " + std::to_string(i * (word + 1) % 41 * 7);
      }
      tsv << source << '\t' << target << '\n';
    }
    tsv.close();
    PairPrepareOptions pair_options;
    pair_options.common = options;
    pair_options.common.output = options.output + "_of_pairs";
    pair_options.common.inputs.clear();
    pair_options.common.documents = {};
    pair_options.common.validation_fraction = 0.1;
    pair_options.inputs.inputs = {*folder_ / "pairs.tsv"};
    prepare_pairs(pair_options, [](const PrepareProgress&) {});
  }
  // An encoder-decoder, on pairs: ranks have different numbers of microbatches in some steps.
  static Overrides pairs(const Overrides& more) {
    return Overrides{"model.kind=encoder_decoder", "data.path=" + data_ + "_of_pairs",
                     "train.batch_sequences=0",    "train.batch_tokens=300",
                     "train.microbatch_tokens=60", "model.context=64"} +
           more;
  }

  static Config config(const Overrides& overrides) {
    return parse_config(
        "run.directory = 'r'\n"
        "[model]\nlayers = 3\nwidth = 32\nheads = 2\ncontext = 16\n"
        "[optim]\nlearning_rate = 3e-3\nwarmup_steps = 2\n"
        "[train]\nsteps = 100\nbatch_sequences = 12\nmicrobatch_sequences = 2\n"
        "[parallel]\nbucket_mib = 0.02\n",
        "test", Overrides{"data.path=" + data_} + overrides);
  }

  static Course train(const Overrides& overrides, Communicator& world) {
    TrainingEngine engine(config(overrides), world);
    engine.initialize();
    engine.start(0, 0, 0);
    Course course;
    for (int step = 0; step < kSteps; ++step) {
      engine.step(step);
      course.steps.push_back(engine.outcome());
    }
    course.values = engine.gather_values();
    return course;
  }
  static Course on_one_rank(const Overrides& overrides) {
    SelfCommunicator alone("alone");
    return train(overrides, alone);
  }
  static Course on_all(const Overrides& overrides) { return train(overrides, test_process().world()); }

  static void expect_close(const Course& found, const Course& expected) {
    EXPECT_NEAR(found.steps[0].loss, expected.steps[0].loss, 1e-6);
    EXPECT_NEAR(found.steps[0].grad_norm, expected.steps[0].grad_norm, 1e-5 * expected.steps[0].grad_norm);
    double difference = 0.0, size = 0.0;
    for (std::size_t i = 0; i < expected.values.size(); ++i) {
      difference += std::pow(static_cast<double>(found.values[i]) - expected.values[i], 2);
      size += std::pow(static_cast<double>(expected.values[i]), 2);
    }
    EXPECT_LT(std::sqrt(difference / size), 1e-4);
  }
  static void expect_same_bits(const Course& found, const Course& expected) {
    for (int step = 0; step < kSteps; ++step) {
      EXPECT_EQ(found.steps[static_cast<std::size_t>(step)].loss,
                expected.steps[static_cast<std::size_t>(step)].loss)
          << "step " << step;
    }
    EXPECT_EQ(std::memcmp(found.values.data(), expected.values.data(), found.values.size() * sizeof(float)),
              0);
  }

 private:
  static inline std::unique_ptr<TempDir> folder_;
  static inline std::string data_;
};

// Of every stage of sharding.
class ZeroStage : public Zero, public ::testing::WithParamInterface<int> {
 protected:
  static Overrides sharded(const Overrides& more = {}) {
    return Overrides{"parallel.zero=" + std::to_string(GetParam())} + more;
  }
};

TEST_P(ZeroStage, TrainsAsOneRankDoes) {
  const std::vector<Overrides> variants = {
      {},
      {"train.microbatch_sequences=12"},
      // Ranks have different numbers of microbatches.
      {"train.batch_sequences=9", "train.microbatch_sequences=1"},
      {"model.dropout=0.1", "optim.grad_clip=0.2"},
      {"model.embedding_norm=true", "model.output_bias=true", "model.loops=2"},
      pairs({"model.dropout=0.1"}),
      pairs({"model.tied_source_embedding=false", "train.microbatch_tokens=40"}),
      {"model.tied_embeddings=false", "model.norm_placement=post", "parallel.bucket_mib=0.5"},
  };
  for (const Overrides& variant : variants) {
    SCOPED_TRACE(variant.empty() ? "plain" : variant[0]);
    const Course found = on_all(sharded(variant));
    expect_close(found, on_one_rank(variant));
    expect_close(found, on_all(variant));
  }
}

TEST_P(ZeroStage, RepeatsItsBits) {
  const Overrides overrides = sharded({"model.dropout=0.1"});
  expect_same_bits(on_all(overrides), on_all(overrides));
}

// Without clipping, to which the order counts in which squares are summed, nor sums over microbatches.
TEST_P(ZeroStage, HasTheBitsOfWholeRanks) {
  const Overrides overrides = {"optim.grad_clip=0", "train.microbatch_sequences=12"};
  expect_same_bits(on_all(sharded(overrides)), on_all(overrides));
}

TEST_P(ZeroStage, PassesOverStepsThatAreNotFinite) {
  Communicator& world = test_process().world();
  TrainingEngine engine(config(sharded()), world);
  engine.initialize();
  engine.start(0, 0, 0);
  const auto skipped_after = [&](std::int64_t step) {
    engine.step(step);
    return engine.outcome().skipped_steps;
  };
  EXPECT_EQ(skipped_after(0), 0);
  const ParameterBuffer& parameters = engine.task().parameters();
  const auto last = static_cast<std::size_t>(parameters.parameters().back().offset);
  const float before = engine.gather_values()[last];
  parameters.values().data<float>()[last] = INFINITY;
  engine.share_values();
  const std::vector<float> expected = engine.gather_values();
  EXPECT_EQ(skipped_after(1), 1);
  EXPECT_EQ(engine.outcome().last_skipped_step, 1);
  EXPECT_EQ(engine.gather_values(), expected);
  parameters.values().data<float>()[last] = before;
  engine.share_values();
  EXPECT_EQ(skipped_after(2), 1);
}

INSTANTIATE_TEST_SUITE_P(Stages, ZeroStage, ::testing::Values(0, 1, 2, 3));

// Rounded gradients lead to nearly the same place: AdamW moves each parameter by about the learning rate, of
// which bfloat16 can turn the share that is noise.
TEST_P(ZeroStage, TakesGradientsInBfloat16) {
  const Course found = on_all(sharded({"parallel.gradient_dtype=bfloat16"}));
  const Course expected = on_one_rank({});
  EXPECT_NEAR(found.steps[0].loss, expected.steps[0].loss, 1e-6);
  EXPECT_NEAR(found.steps[0].grad_norm, expected.steps[0].grad_norm, 1e-2 * expected.steps[0].grad_norm);
  EXPECT_NEAR(found.steps.back().loss, expected.steps.back().loss, 1e-2);
  EXPECT_EQ(found.values == on_all(sharded()).values, test_process().world().size() == 1);
}

// Between steps: 4 bytes for each of value, gradient and two moments of a parameter, of which a rank has its
// shares alone.
TEST_P(ZeroStage, TakesItsShareOfTheMemory) {
  Communicator& world = test_process().world();
  TrainingEngine engine(config(sharded({"model.layers=6", "model.width=128"})), world);
  engine.initialize();
  engine.start(0, 0, 0);
  engine.step(0);
  const auto parameters = static_cast<double>(engine.task().parameters().num_elements());
  const double n = world.size();
  const std::array<double, 4> bytes = {16.0, 8.0 + 8.0 / n, 4.0 + 12.0 / n, 16.0 / n};
  EXPECT_NEAR(static_cast<double>(engine.resident_bytes()) / parameters,
              bytes[static_cast<std::size_t>(GetParam())],
              0.05 * bytes[static_cast<std::size_t>(GetParam())]);
}

// A step of one microbatch: (n - 1)/n of the flat gradients come in, and of each block's values in forward
// and in backward; of the tables, which are tied, for the embedding and the loss.  Buckets at borders count
// twice at most.
TEST_F(Zero, ParametersAreGatheredTwice) {
  Communicator& world = test_process().world();
  TrainingEngine engine(config({"parallel.zero=3", "train.microbatch_sequences=12", "model.layers=6"}),
                        world);
  engine.initialize();
  engine.start(0, 0, 0);
  engine.step(0);
  const Traffic before = engine.mesh().data().traffic();
  engine.step(1);
  const Traffic step = engine.mesh().data().traffic() - before;
  const double n = world.size();
  const auto received = static_cast<double>(step.bytes_received);
  const double once = 4.0 * static_cast<double>(engine.shards()->padded_elements()) * (n - 1) / n;
  EXPECT_LE(received, 3.5 * once + 8 * (n + 1));
  EXPECT_GE(received, 2.5 * once);
}

// (n - 1)/n of the flat vector comes in for gradients and as much for values; beside it two losses and the
// norm.
TEST_F(Zero, OptimizerStateMovesWhatAnAllReduceDoes) {
  Communicator& world = test_process().world();
  TrainingEngine engine(config({"parallel.zero=1"}), world);
  engine.initialize();
  engine.start(0, 0, 0);
  const Traffic before = engine.mesh().data().traffic();
  engine.step(0);
  const Traffic step = engine.mesh().data().traffic() - before;
  const std::int64_t bytes = engine.shards()->padded_elements() * 4;
  const std::int64_t n = world.size();
  EXPECT_NEAR(static_cast<double>(step.bytes_received), static_cast<double>(2 * bytes / n * (n - 1)),
              static_cast<double>(2 * 4 * (n + 1)));
}

}  // namespace
}  // namespace trireme
