// Scalars in the event files that TensorBoard reads: protobuf messages in TFRecord frames, written by hand.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "trainer/append_file.h"

namespace trireme {

struct TensorboardScalar {
  std::string_view tag;  // "train/loss": the part before the slash groups the charts
  double value = 0;
};

class TensorboardWriter {
 public:
  // A new file in `directory`, made if missing.  Tells TensorBoard to forget what earlier files hold about
  // steps after `start_step`.  Throws UserError if it cannot be made.
  TensorboardWriter(const std::string& directory, std::int64_t start_step);

  void add(std::int64_t step, std::span<const TensorboardScalar> scalars);

 private:
  AppendFile file_;
};

}  // namespace trireme
