// A batch as the model takes it.
#pragma once

#include <cstdint>
#include <vector>

#include "data/batch.h"
#include "kernels/tensor.h"
#include "trainer/config.h"

namespace trireme {

// Borrow the batch's memory, which nobody writes through them.
struct BatchTensors {
  explicit BatchTensors(const Batch& batch)
      : inputs_BT(tensor(batch, batch.inputs)),
        targets_BT(tensor(batch, batch.targets)),
        documents_BT(tensor(batch, batch.documents)),
        positions_BT(tensor(batch, batch.positions)) {}

  Tensor inputs_BT;
  Tensor targets_BT;
  Tensor documents_BT;  // empty where they are joined
  Tensor positions_BT;

 private:
  static Tensor tensor(const Batch& batch, const std::vector<std::int32_t>& values) {
    if (values.empty()) return {};
    return {const_cast<std::int32_t*>(values.data()),
            DType::kInt32,
            {batch.sequences, batch.tokens_per_sequence}};
  }
};

// Of config key data.documents.
inline Documents documents_of(const DataConfig& config) {
  return config.documents == "separate" ? Documents::kSeparate : Documents::kJoined;
}

}  // namespace trireme
