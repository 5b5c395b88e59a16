// The backend's descriptors: what may be set of them, and what they come to when they are finalised.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/vgpu/cudnn/operation.h"

namespace trireme::vgpu {

// Gives the status back; cudnnGetLastErrorString then says why.
cudnnStatus_t refuse(cudnnStatus_t status, const std::string& why);
cudnnStatus_t bad(const std::string& why);  // CUDNN_STATUS_BAD_PARAM
const std::string& last_refusal();

// What an attribute must be: its type, and how many elements (0: any number).
struct Rule {
  cudnnBackendAttributeType_t type;
  int64_t count;
  bool is_required;
};
using Rules = std::map<int, Rule>;

// Null where descriptors of that type are unknown here.
const Rules* rules_of(cudnnBackendDescriptorType_t type);

using Graph = std::vector<GraphOperation>;

// A descriptor of the backend.
struct Descriptor {
  cudnnBackendDescriptorType_t type;
  bool is_final = false;
  std::map<int, std::vector<uint8_t>> attributes = {};
  // What it comes to, once it is final: descriptors that it was made of may be gone then.
  GraphTensor tensor = {};
  GraphOperation operation = {};
  std::shared_ptr<const Graph> graph = nullptr;
  int config = 0;

  bool has(int name) const { return attributes.contains(name); }
  template <typename T = int64_t>
  std::vector<T> all(int name) const {
    const auto found = attributes.find(name);
    if (found == attributes.end()) return {};
    std::vector<T> values(found->second.size() / sizeof(T));
    std::memcpy(values.data(), found->second.data(), found->second.size());
    return values;
  }
  template <typename T = int64_t>
  T one(int name, T otherwise = {}) const {
    if (has(name)) std::memcpy(&otherwise, attributes.at(name).data(), sizeof(T));
    return otherwise;
  }
  const Descriptor& other(int name) const { return *one<const Descriptor*>(name); }
};

// Makes of the attributes what it comes to.
cudnnStatus_t finalize(Descriptor& self);

}  // namespace trireme::vgpu
