// A batch as the model takes it.
#pragma once

#include <cstdint>
#include <vector>

#include "data/batch.h"
#include "kernels/tensor.h"
#include "trainer/config.h"
#include "trainer/token_upload.h"

namespace trireme {

// Where the model computes.  On the CPU they borrow the batch's memory, which nobody writes through them.
struct BatchTensors {
  BatchTensors(const Batch& batch, TokenUpload& upload)
      : inputs_BT(upload.bring(tensor(batch, batch.inputs))),
        targets_BT(upload.bring(tensor(batch, batch.targets))),
        documents_BT(upload.bring(tensor(batch, batch.documents))),
        positions_BT(upload.bring(tensor(batch, batch.positions))) {}

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
