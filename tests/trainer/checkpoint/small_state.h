// A small training state whose every number follows from the step.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "trainer/checkpoint/checkpoint.h"

namespace trireme {

class SmallState {
 public:
  explicit SmallState(std::int64_t step, std::int64_t num_elements = 5003)
      : memory_(3, std::vector<float>(static_cast<std::size_t>(num_elements))) {
    contents_.layout = {{"embedding.weight", 0, {num_elements / 2}},
                        {"head.weight", num_elements / 2, {num_elements - num_elements / 2}}};
    const std::vector<std::string> names{"parameters", "adam_m", "adam_v"};
    for (std::size_t i = 0; i < names.size(); ++i) {
      contents_.tensors.push_back({names[i], {memory_[i].data(), DType::kFloat32, {num_elements}}});
    }
    contents_.model_json = R"({"width":16,"heads":2,"dropout":0.1})";
    contents_.changeable_keys = {"dropout"};
    set_step(step);
  }

  void set_step(std::int64_t step) {
    contents_.state = {
        .step = step, .samples = 8 * step, .skipped_steps = step / 3, .seed = 7, .dataset_id = "prose"};
    for (std::size_t i = 0; i < memory_.size(); ++i) {
      auto bits = static_cast<std::uint64_t>(step) * 3 + i + 1;
      for (float& value : memory_[i]) {
        bits = bits * 6364136223846793005U + 1442695040888963407U;
        const auto word = static_cast<std::uint32_t>(bits >> 32);  // any pattern of bits, NaN and all
        std::memcpy(&value, &word, sizeof value);
      }
    }
  }
  // Before a load: nothing but what a run knows of itself.
  void forget() {
    contents_.state.step = contents_.state.samples = contents_.state.skipped_steps = 0;
    for (std::vector<float>& values : memory_) values.assign(values.size(), -1.0F);
  }
  // Whether this is, to the bit, the state of `step`.
  bool is_of_step(std::int64_t step) const {
    const SmallState expected(step, static_cast<std::int64_t>(memory_[0].size()));
    if (!(contents_.state == expected.contents_.state)) return false;
    for (std::size_t i = 0; i < memory_.size(); ++i) {
      const std::size_t size_bytes = memory_[i].size() * sizeof(float);
      if (size_bytes > 0 && std::memcmp(memory_[i].data(), expected.memory_[i].data(), size_bytes) != 0)
        return false;
    }
    return true;
  }

  CheckpointContents& contents() { return contents_; }
  std::vector<float>& memory(std::size_t i) { return memory_[i]; }

 private:
  std::vector<std::vector<float>> memory_;
  CheckpointContents contents_;
};

}  // namespace trireme
