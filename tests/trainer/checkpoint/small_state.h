// A small training state whose every number follows from the step, and which every rank holds whole.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/pieces.h"

namespace trireme {

class SmallState {
 public:
  static constexpr std::int64_t kNumElements = 60011;  // 4 blocks: one for each of up to 4 ranks

  // The ranks of `data` share the saving.
  SmallState(std::int64_t step, Communicator& data, std::int64_t num_elements = kNumElements)
      : memory_(3, std::vector<float>(static_cast<std::size_t>(num_elements))) {
    contents_.layout = {{"embedding.weight", 0, {num_elements / 2}},
                        {"head.weight", num_elements / 2, {num_elements - num_elements / 2}}};
    contents_.num_elements = num_elements;
    const CheckpointPieces pieces = replicated_over(data, pieces_of(contents_.layout), num_elements);
    const std::vector<std::string> names{"parameters", "adam_m", "adam_v"};
    for (std::size_t i = 0; i < names.size(); ++i) {
      contents_.tensors.push_back({names[i], {memory_[i].data(), DType::kFloat32, {num_elements}}, pieces});
    }
    contents_.model_json = R"({"width":16,"heads":2,"dropout":0.1})";
    contents_.changeable_keys = {"dropout"};
    set_step(step);
  }

  void set_step(std::int64_t step) {
    contents_.state = state_of(step);
    for (std::size_t i = 0; i < memory_.size(); ++i) fill(memory_[i], step, i);
  }
  // Before a load: nothing but what a run knows of itself.
  void forget() {
    contents_.state.step = contents_.state.samples = contents_.state.skipped_steps = 0;
    for (std::vector<float>& values : memory_) values.assign(values.size(), -1.0F);
  }
  // Whether this is, to the bit, the state of `step`.
  bool is_of_step(std::int64_t step) const {
    if (!(contents_.state == state_of(step))) return false;
    for (std::size_t i = 0; i < memory_.size(); ++i) {
      if (!holds(i, step)) return false;
    }
    return true;
  }
  // Of one tensor.
  bool holds(std::size_t i, std::int64_t step) const {
    std::vector<float> expected(memory_[i].size());
    fill(expected, step, i);
    return expected.empty() ||
           std::memcmp(memory_[i].data(), expected.data(), expected.size() * sizeof(float)) == 0;
  }

  CheckpointContents& contents() { return contents_; }
  std::vector<float>& memory(std::size_t i) { return memory_[i]; }

 private:
  static TrainState state_of(std::int64_t step) {
    return {.step = step, .samples = 8 * step, .skipped_steps = step / 3, .seed = 7, .dataset_id = "prose"};
  }
  static void fill(std::vector<float>& values, std::int64_t step, std::size_t tensor) {
    auto bits = static_cast<std::uint64_t>(step) * 3 + tensor + 1;
    for (float& value : values) {
      bits = bits * 6364136223846793005U + 1442695040888963407U;
      const auto word = static_cast<std::uint32_t>(bits >> 32);  // any pattern of bits, NaN and all
      std::memcpy(&value, &word, sizeof value);
    }
  }

  std::vector<std::vector<float>> memory_;
  CheckpointContents contents_;
};

}  // namespace trireme
