// Tensors of an imported model that ours has no layer for, such as BERT's pooler: kept for its export.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace trireme {

struct LeftOutTensor {
  std::string name;  // without the prefix
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

// They lie in the folder of the checkpoint that was imported, beside what belongs to the format, as
// left_out.h5: durable, with checksums.  A run that trains the model further has none: they are weights for
// hidden states that are no more.
void write_left_out_tensors(const std::filesystem::path& checkpoint, std::span<const LeftOutTensor> tensors);

// None if the checkpoint has none.  Throws UserError if they are not as they were written.
std::vector<LeftOutTensor> read_left_out_tensors(const std::filesystem::path& checkpoint);

}  // namespace trireme
