// Where each tensor of a Hugging Face folder lies among our parameters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/checkpoint/checkpoint.h"
#include "trainer/hugging_face/model_config.h"

namespace trireme {

// One of their tensors is a whole parameter of ours or some of its rows, as it is or, [inputs, outputs]
// instead of [outputs, inputs], transposed.
struct TensorPlace {
  std::string name;                 // without the prefix
  std::vector<std::int64_t> shape;  // theirs
  std::int64_t offset = 0;          // of its first element in our flat vector
  bool transposed = false;
};

// Of all that an architecture's model has, `layout` being ours: each of its elements belongs to exactly one
// tensor.
std::vector<TensorPlace> tensor_places(const HuggingFaceModel& model,
                                       const std::vector<CheckpointEntry>& layout);

// What `transformers` puts before the names where it saves the model with its output layer.
std::string_view name_prefix(Architecture architecture);
// Whether a tensor belongs to what lies behind the blocks, whose names have no prefix.
bool is_of_head(std::string_view name);
// Whose elements a tensor, named without prefix, repeats in files that hold it although it is tied to
// another; empty if it is none of these.
std::string_view tied_to(Architecture architecture, std::string_view name);

// Whether a tensor, named without prefix, is no weight: masks and the like, which some versions have saved.
bool is_constant(Architecture architecture, std::string_view name);
// Whether it is a weight of what we have no use for: BERT's pooler, and its guess about next sentences.
bool is_left_out(Architecture architecture, std::string_view name);

}  // namespace trireme
