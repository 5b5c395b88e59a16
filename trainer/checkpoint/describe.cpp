#include <array>
#include <cstdio>
#include <sstream>

#include "data/checksum.h"
#include "trainer/checkpoint/load.h"

namespace trireme {
namespace {

std::string in_mib(std::int64_t size_bytes) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f MiB", static_cast<double>(size_bytes) / (1 << 20));
  return text.data();
}

}  // namespace

std::string describe(const CheckpointManifest& manifest) {
  std::ostringstream out;
  out << "step      " << manifest.state.step << "\n"
      << "samples   " << manifest.state.samples << "\n"
      << "skipped   " << manifest.state.skipped_steps << " steps\n"
      << "seed      " << manifest.state.seed << "\n"
      << "data      " << manifest.state.dataset_id << "\n"
      << "model     " << manifest.model_json << "\n";
  for (const auto& tensor : manifest.tensors) {
    out << "tensor    " << tensor.name << ": " << manifest.num_elements << " float32, checksum "
        << to_hex(tensor.checksum) << "\n";
  }
  for (const auto& file : manifest.files) {
    out << "file      " << file.name << ": " << in_mib(file.size_bytes) << ", elements " << file.begin
        << " to " << file.end << "\n";
  }
  for (const auto& entry : manifest.layout)
    out << "parameter " << entry.name << " " << entry.shape.to_string() << " at " << entry.offset << "\n";
  return out.str();
}

}  // namespace trireme
