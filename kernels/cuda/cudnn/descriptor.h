// cuDNN's descriptors, owned.  Internal to kernels/cuda/cudnn/.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <cudnn_graph.h>

namespace trireme::cuda::cudnn {

// What cuDNN refuses; the message has the call, its status and cuDNN's own words.
class Refused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws Refused unless `status` is success.
void check(cudnnStatus_t status, const char* what);

// Attributes are set one by one, then finalize() is called; after that it may be an attribute of others,
// which keep what they need of it.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }

  cudnnBackendDescriptor_t raw() const { return raw_; }

  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
           const void* values);
  template <typename T>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
    set(name, type, 1, &value);
  }
  void set(cudnnBackendAttributeName_t name, std::int64_t value) { set(name, CUDNN_TYPE_INT64, value); }
  void set(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values) {
    set(name, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data());
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& other) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, other.raw_);
  }
  void set(cudnnBackendAttributeName_t name, const std::vector<Descriptor>& others);
  void finalize();

  std::int64_t number(cudnnBackendAttributeName_t name) const;
  // Of an attribute that is a list of descriptors of a type.
  std::vector<Descriptor> list(cudnnBackendAttributeName_t name, cudnnBackendDescriptorType_t type) const;

 private:
  cudnnBackendDescriptor_t raw_ = nullptr;
};

}  // namespace trireme::cuda::cudnn
