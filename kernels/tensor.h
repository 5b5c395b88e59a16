// A borrowed, typed, shaped view of memory.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "kernels/device.h"
#include "kernels/dtype.h"

namespace trireme {

// Up to five dimensions, outermost first.
class Shape {
 public:
  static constexpr int kMaxDims = 5;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims);
  // This shape with a dimension of size `size` put in front of dimension `dim`.
  Shape insert(int dim, std::int64_t size) const;
  // This shape without dimension `dim`.
  Shape erase(int dim) const;

  int num_dims() const { return num_dims_; }
  std::int64_t operator[](int dim) const { return dims_[static_cast<std::size_t>(dim)]; }
  std::int64_t& operator[](int dim) { return dims_[static_cast<std::size_t>(dim)]; }
  std::int64_t num_elements() const;
  bool operator==(const Shape&) const = default;
  std::string to_string() const;  // "[8, 1024, 768]"

 private:
  std::array<std::int64_t, kMaxDims> dims_{};
  int num_dims_ = 0;
};

// A Tensor owns nothing: whoever gave it out (a Buffer, an Arena, a ParameterBuffer) must outlive it.  Like
// std::span, a const Tensor still gives writable elements; constness of elements is in an op's documentation.
// The default Tensor is empty and stands for an operand that is absent.
//
// Rows may lie apart (strides, in elements, on all dimensions but the last, whose stride is 1), so that
// query, key and value are slices of one projection, and a cache can be read up to its current length.
class Tensor {
 public:
  Tensor() = default;
  // A contiguous tensor over `data`.
  Tensor(void* data, DType dtype, Shape shape, Device device = {});

  explicit operator bool() const { return data_ != nullptr; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  const Shape& shape() const { return shape_; }
  int num_dims() const { return shape_.num_dims(); }
  std::int64_t dim(int i) const { return shape_[i]; }
  std::int64_t stride(int i) const { return strides_[i]; }
  std::int64_t num_elements() const { return shape_.num_elements(); }
  bool is_contiguous() const;

  // The first element.  CHECKs that T is the element type.
  template <typename T>
  T* data() const {
    check_dtype(kDTypeOf<T>);
    return static_cast<T*>(data_);
  }
  void* raw_data() const { return data_; }

  // This shape, type and strides over other memory.
  Tensor moved_to(void* data, Device device) const;
  // The same elements under another shape.  REQUIRES: contiguous, equal element counts.
  Tensor view(Shape shape) const;
  // Elements [begin, end) of one dimension, the others whole; keeps the strides.
  Tensor slice(int dim, std::int64_t begin, std::int64_t end) const;
  // The same elements without dimension `dim`.  REQUIRES: its size is 1, and it isn't the last.
  Tensor squeeze(int dim) const;

 private:
  void check_dtype(DType expected) const;

  void* data_ = nullptr;
  Shape shape_;
  Shape strides_;
  DType dtype_ = DType::kFloat32;
  Device device_;
};

}  // namespace trireme
