// Saved on one layout of ranks, loaded on another.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/mesh.h"
#include "parallel/parameter_buffer.h"
#include "parallel/self_communicator.h"
#include "parallel/sharded_layout.h"
#include "tests/trainer/checkpoint/shared_run.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/pieces.h"

namespace trireme {
namespace {

constexpr std::int64_t kStep = 30;
constexpr int kNumLayers = 4;
constexpr std::int64_t kWidth = 64;        // C
constexpr std::int64_t kVocabulary = 211;  // divides by none of the sizes
constexpr std::int64_t kHidden = 200;
constexpr std::int64_t kHeads = 4;
constexpr std::int64_t kSharedHeads = 2;  // of keys and values
constexpr std::int64_t kHeadWidth = kWidth / kHeads;

enum class Sharded { kNothing, kMoments, kAll };

struct Layout {
  MeshShape shape;
  Sharded sharded;

  int num_ranks() const { return shape.pipeline * shape.data * shape.tensor; }
  std::string name() const {
    return "pp" + std::to_string(shape.pipeline) + "_dp" + std::to_string(shape.data) + "_tp" +
           std::to_string(shape.tensor) +
           std::array{"", "_moments", "_all"}.at(static_cast<std::size_t>(sharded));
  }
};

const std::vector<Layout>& all_layouts() {
  static const std::vector<Layout> layouts{
      {{1, 1, 1}, Sharded::kNothing}, {{1, 1, 1}, Sharded::kMoments}, {{1, 2, 1}, Sharded::kNothing},
      {{1, 2, 1}, Sharded::kMoments}, {{1, 2, 1}, Sharded::kAll},     {{1, 1, 2}, Sharded::kNothing},
      {{2, 1, 1}, Sharded::kNothing}, {{1, 3, 1}, Sharded::kAll},     {{1, 4, 1}, Sharded::kMoments},
      {{1, 1, 4}, Sharded::kNothing}, {{4, 1, 1}, Sharded::kNothing}, {{1, 2, 2}, Sharded::kNothing},
      {{1, 2, 2}, Sharded::kMoments}, {{1, 2, 2}, Sharded::kAll},     {{2, 2, 1}, Sharded::kAll},
      {{2, 1, 2}, Sharded::kNothing}, {{2, 2, 2}, Sharded::kMoments}};
  return layouts;
}

// What a rank of a layout has of a model: every way in which a parameter can be shared.
class Share {
 public:
  // Collective over the layout's ranks.
  Share(const Layout& layout, Communicator& ranks) : mesh_(layout.shape, ranks), sharded_(layout.sharded) {
    const int stage = mesh_.coordinate(Axis::kPipeline);
    const int num_stages = mesh_.size(Axis::kPipeline);
    const bool has_table = stage == 0 || stage == num_stages - 1;
    table_ = mesh_.pipeline().split(has_table ? 0 : 1, stage, "table");
    const int num_tensor = mesh_.size(Axis::kTensor);
    const int ranks_per_head = std::max(1, num_tensor / static_cast<int>(kSharedHeads));
    shared_heads_ = mesh_.tensor().split(mesh_.coordinate(Axis::kTensor) / ranks_per_head, 0, "heads");
    if (stage == 0) add_table();
    for (int layer = stage; layer < kNumLayers; layer += num_stages) add_layer(layer);
    if (stage != num_stages - 1) return;
    if (stage > 0) add_table();
    add_replicated("final.scale", {5});
  }

  const ParameterBuffer& parameters() const { return own_; }
  Mesh& mesh() { return mesh_; }
  bool is_sharded(std::size_t tensor) const {
    return sharded_ == Sharded::kAll || (sharded_ == Sharded::kMoments && tensor > 0);
  }

 private:
  void add(const std::string& name, ParameterPart part) {
    own_.add(name, std::move(part), Initializer::constant(0.0F), true);
  }
  FlatRange share(std::int64_t rows) const {
    return share_of(rows, mesh_.coordinate(Axis::kTensor), mesh_.size(Axis::kTensor));
  }
  void add_replicated(const std::string& name, const Shape& shape) {
    Parameter& parameter = own_.add(name, shape, Initializer::constant(0.0F), false);
    parameter.replicas = {
        {.group = &mesh_.tensor(), .elements = {0, shape.num_elements()}, .is_partial = true}};
  }
  void add_table() {
    const auto part = ParameterPart::rows_of({kVocabulary, kWidth}, {share(kVocabulary)});
    Parameter& parameter = own_.add("table", part, Initializer::constant(0.0F), true);
    parameter.replicas = {
        {.group = table_.get(), .elements = {0, part.shape().num_elements()}, .is_partial = true}};
  }
  void add_layer(int layer) {
    const std::string prefix = "blocks." + std::to_string(layer) + ".";
    add_replicated(prefix + "norm", {kWidth});
    add_heads(prefix + "qkv");
    add(prefix + "projection", ParameterPart::columns_of({kWidth, kWidth}, share(kWidth)));
    add(prefix + "up", ParameterPart::rows_of({kHidden, kWidth}, {share(kHidden)}));
    add(prefix + "up.bias", ParameterPart::rows_of({kHidden}, {share(kHidden)}));
    add(prefix + "down", ParameterPart::columns_of({kWidth, kHidden}, share(kHidden)));
  }
  // Rows of queries, keys and values, of which ranks that have the same key and value heads have copies.
  void add_heads(const std::string& name) {
    const std::int64_t shared_rows = kSharedHeads * kHeadWidth;
    const int num_groups = std::min(mesh_.size(Axis::kTensor), static_cast<int>(kSharedHeads));
    const int group = mesh_.coordinate(Axis::kTensor) * num_groups / mesh_.size(Axis::kTensor);
    const FlatRange queries = share(kWidth);
    const FlatRange shared = share_of(shared_rows, group, num_groups);
    const std::int64_t keys = kWidth;
    const std::int64_t values = kWidth + shared_rows;
    const auto part = ParameterPart::rows_of(
        {kWidth + 2 * shared_rows, kWidth},
        {queries, {keys + shared.begin, keys + shared.end}, {values + shared.begin, values + shared.end}});
    Parameter& parameter = own_.add(name, part, Initializer::constant(0.0F), true);
    parameter.replicas = {{.group = shared_heads_.get(),
                           .elements = {queries.size() * kWidth, part.shape().num_elements()},
                           .is_partial = true}};
  }

  Mesh mesh_;
  const Sharded sharded_;
  std::unique_ptr<Communicator> table_;
  std::unique_ptr<Communicator> shared_heads_;
  ParameterBuffer own_;
};

// Any pattern of bits, from the place in the whole parameter alone.
float value_of(std::size_t parameter_hash, std::size_t tensor, std::int64_t element) {
  auto bits = parameter_hash + static_cast<std::uint64_t>(element) * 3 + tensor;
  bits = (bits ^ bits >> 31) * 0x9E3779B97F4A7C15U;
  bits = (bits ^ bits >> 29) * 0xBF58476D1CE4E5B9U;
  const auto word = static_cast<std::uint32_t>(bits >> 32);
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

// A rank's training state.
class State {
 public:
  explicit State(Share& share) {
    SelfCommunicator alone;
    const Share whole({{1, 1, 1}, Sharded::kNothing}, alone);
    contents_.layout = layout_of(whole.parameters());
    contents_.num_elements = whole.parameters().num_elements();
    contents_.model_json = "{}";
    contents_.state = {.step = kStep, .samples = 99, .tokens = 7, .seed = 1, .dataset_id = "prose"};
    const std::int64_t size = share.parameters().num_elements();
    const ShardedLayout shards(size, share.mesh().data().size(), /*bucket_elements=*/5000);
    const CheckpointPieces pieces = pieces_of(share.parameters(), contents_.layout);
    const std::vector<std::string> names{"parameters", "adam_m", "adam_v"};
    for (std::size_t i = 0; i < names.size(); ++i) {
      expected_.push_back(flat_values(share.parameters(), i, shards.padded_elements()));
      if (share.is_sharded(i)) expected_[i] = shard_of(expected_[i], shards, share.mesh().data().rank());
      memory_.emplace_back(expected_[i].size(), 0.0F);
      contents_.tensors.push_back({names[i],
                                   {memory_[i].data(), DType::kFloat32, {std::ssize(memory_[i])}},
                                   share.is_sharded(i) ? sharded_over(share.mesh().data(), pieces, shards)
                                                       : replicated_over(share.mesh().data(), pieces, size)});
    }
  }

  CheckpointContents& contents() { return contents_; }
  void forget() {
    contents_.state.step = contents_.state.samples = 0;
    for (std::vector<float>& values : memory_) values.assign(values.size(), 0.0F);
  }
  void set() {
    for (std::size_t i = 0; i < memory_.size(); ++i)
      std::copy(expected_[i].begin(), expected_[i].end(), memory_[i].begin());
  }
  bool is_set() const {
    for (std::size_t i = 0; i < memory_.size(); ++i) {
      if (std::memcmp(memory_[i].data(), expected_[i].data(), memory_[i].size() * sizeof(float)) != 0)
        return false;
    }
    return true;
  }

 private:
  static std::vector<float> flat_values(const ParameterBuffer& own, std::size_t tensor, std::int64_t size) {
    std::vector<float> values(static_cast<std::size_t>(size));
    for (const Parameter& parameter : own.parameters()) {
      const std::size_t hash = std::hash<std::string>()(parameter.name);
      for_each_piece(parameter.part, [&](const Piece& piece) {
        for (std::int64_t i = 0; i < piece.size; ++i)
          values[static_cast<std::size_t>(parameter.offset + piece.own + i)] =
              value_of(hash, tensor, piece.whole + i);
      });
    }
    return values;
  }
  // What the rank has of it, in place.
  static std::vector<float> shard_of(const std::vector<float>& flat, const ShardedLayout& shards, int rank) {
    std::vector<float> shard(flat.size());
    for (int bucket = 0; bucket < shards.num_buckets(); ++bucket) {
      const FlatRange part = shards.part(bucket, rank);
      std::copy(flat.begin() + part.begin, flat.begin() + part.end, shard.begin() + part.begin);
    }
    return shard;
  }

  CheckpointContents contents_;
  std::vector<std::vector<float>> expected_;
  std::vector<std::vector<float>> memory_;
};

class LayoutTest : public SharedRunTest {
 protected:
  // Calls body(layout, its share, its ranks) on the first ranks of the world, for each layout that fits.
  template <typename Body>
  void for_each_layout(const Body& body) {
    for (const Layout& layout : all_layouts()) {
      if (layout.num_ranks() > world_.size()) continue;
      const bool takes_part = world_.rank() < layout.num_ranks();
      const auto ranks = world_.split(takes_part ? 0 : 1, 0, "layout");
      if (takes_part) {
        Share share(layout, *ranks);
        body(layout, share, *ranks);
      }
      world_.barrier();
    }
  }
};

TEST_F(LayoutTest, AnyLoadsWhatAnyOtherSaved) {
  for_each_layout([&](const Layout& layout, Share& share, Communicator& ranks) {
    State state(share);
    state.set();
    EXPECT_EQ(save_checkpoint(run_ / layout.name(), state.contents(), {}, ranks), std::nullopt)
        << layout.name();
  });
  for_each_layout([&](const Layout& layout, Share& share, Communicator& ranks) {
    State state(share);
    for (const Layout& saved : all_layouts()) {
      if (saved.num_ranks() > world_.size()) continue;
      state.forget();
      EXPECT_FALSE(state.is_set());
      EXPECT_TRUE(load_newest_checkpoint(run_ / saved.name(), state.contents(), ranks));
      EXPECT_TRUE(state.is_set()) << "saved on " << saved.name() << ", loaded on " << layout.name();
      EXPECT_EQ(state.contents().state.step, kStep);
      EXPECT_EQ(state.contents().state.samples, 99);
    }
  });
}

// Checksums, layout and state are the same, whatever the ranks: the disk holds one model.
TEST_F(LayoutTest, AllWriteTheSame) {
  std::optional<CheckpointManifest> first;
  for_each_layout([&](const Layout& layout, Share& share, Communicator& ranks) {
    State state(share);
    state.set();
    ASSERT_EQ(save_checkpoint(run_ / layout.name(), state.contents(), {}, ranks), std::nullopt);
    CheckpointManifest manifest = read_manifest(checkpoint_folder(run_ / layout.name(), kStep));
    EXPECT_EQ(std::ssize(manifest.files), layout.num_ranks());
    manifest.files.clear();
    if (!first) first = manifest;
    EXPECT_EQ(manifest.to_json(), first->to_json()) << layout.name();
  });
}

}  // namespace
}  // namespace trireme
