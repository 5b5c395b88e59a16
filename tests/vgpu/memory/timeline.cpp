#include "tests/vgpu/memory/timeline.h"

#include <algorithm>

#include "tests/vgpu/report.h"

namespace trireme::vgpu {

void join(Clock& clock, const Clock& other) {
  clock.resize(std::max(clock.size(), other.size()));
  for (size_t i = 0; i < other.size(); ++i) clock[i] = std::max(clock[i], other[i]);
}

Timeline& Timeline::get() {
  static Timeline instance;
  return instance;
}

OpId Timeline::add(int stream, const std::string& name, Clock& clock) {
  if (clock.size() <= static_cast<size_t>(stream)) clock.resize(stream + 1);
  auto found = std::find(names_.begin(), names_.end(), name);
  if (found == names_.end()) found = names_.insert(names_.end(), name);
  ops_.push_back({stream, ++clock[stream], static_cast<uint32_t>(found - names_.begin())});
  return static_cast<OpId>(ops_.size() - 1);
}

std::string Timeline::describe(OpId op) const {
  return text(names_[ops_[op].name], " (operation ", ops_[op].number, " of stream ", ops_[op].stream, ")");
}

}  // namespace trireme::vgpu
