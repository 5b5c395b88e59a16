// What a Transformer looks like: all that is needed to build it anew from a checkpoint.
#pragma once

#include <cstdint>
#include <string>

#include "trainer/config.h"

namespace trireme {

struct TransformerOptions {
  std::int64_t layers = 0;
  std::int64_t width = 0;         // C
  std::int64_t heads = 0;         // H; divides C
  std::int64_t feed_forward = 0;  // F
  std::int64_t context = 0;       // longest T
  std::int64_t vocabulary = 0;    // V
  float init_stddev = 0.0F;
  // Not part of the model's shape: a checkpoint may go on with another one.
  float dropout = 0.0F;

  static TransformerOptions from_config(const ModelConfig& config, std::int64_t vocabulary);
  // As stored in a checkpoint.  Throws UserError naming `source` and the key that is missing or wrong.
  static TransformerOptions from_json(const std::string& json, const std::string& source);
  std::string to_json() const;
};

}  // namespace trireme
