#include "kernels/tensor.h"

#include <glog/logging.h>

namespace trireme {

Shape::Shape(std::initializer_list<std::int64_t> dims) : num_dims_(static_cast<int>(dims.size())) {
  CHECK_LE(num_dims_, kMaxDims);
  int i = 0;
  for (const std::int64_t dim : dims) {
    CHECK_GE(dim, 0);
    (*this)[i++] = dim;
  }
}

Shape Shape::insert(int dim, std::int64_t size) const {
  CHECK(0 <= dim && dim <= num_dims_ && num_dims_ < kMaxDims);
  Shape result = *this;
  ++result.num_dims_;
  for (int i = num_dims_; i > dim; --i) result[i] = (*this)[i - 1];
  result[dim] = size;
  return result;
}

Shape Shape::erase(int dim) const {
  CHECK(0 <= dim && dim < num_dims_);
  Shape result = *this;
  --result.num_dims_;
  for (int i = dim; i < result.num_dims_; ++i) result[i] = (*this)[i + 1];
  result[result.num_dims_] = 0;
  return result;
}

std::int64_t Shape::num_elements() const {
  std::int64_t product = 1;
  for (int i = 0; i < num_dims_; ++i) product *= (*this)[i];
  return product;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (int i = 0; i < num_dims_; ++i) text += (i == 0 ? "" : ", ") + std::to_string((*this)[i]);
  return text + "]";
}

Tensor::Tensor(void* data, DType dtype, Shape shape, Device device)
    : data_(data), shape_(shape), strides_(shape), dtype_(dtype), device_(device) {
  std::int64_t stride = 1;
  for (int i = num_dims() - 1; i >= 0; --i) {
    strides_[i] = stride;
    stride *= shape_[i];
  }
}

bool Tensor::is_contiguous() const {
  std::int64_t expected = 1;
  for (int i = num_dims() - 1; i >= 0; --i) {
    if (shape_[i] != 1 && strides_[i] != expected) return false;
    expected *= shape_[i];
  }
  return true;
}

Tensor Tensor::moved_to(void* data, Device device) const {
  Tensor moved = *this;
  moved.data_ = data;
  moved.device_ = device;
  return moved;
}

Tensor Tensor::view(Shape shape) const {
  CHECK(is_contiguous());
  CHECK_EQ(shape.num_elements(), num_elements()) << shape_.to_string() << " viewed as " << shape.to_string();
  return {data_, dtype_, shape, device_};
}

Tensor Tensor::slice(int dim, std::int64_t begin, std::int64_t end) const {
  CHECK(0 <= dim && dim < num_dims());
  CHECK(0 <= begin && begin <= end && end <= shape_[dim])
      << "[" << begin << ", " << end << ") of dimension " << dim << " of " << shape_.to_string();
  Tensor part = *this;
  part.data_ = static_cast<char*>(data_) + begin * strides_[dim] * trireme::size_bytes(dtype_);
  part.shape_[dim] = end - begin;
  return part;
}

Tensor Tensor::squeeze(int dim) const {
  CHECK(0 <= dim && dim + 1 < num_dims() && shape_[dim] == 1)
      << "dimension " << dim << " of " << shape_.to_string();
  Tensor result = *this;
  result.shape_ = shape_.erase(dim);
  result.strides_ = strides_.erase(dim);
  return result;
}

void Tensor::check_dtype(DType expected) const {
  CHECK(dtype_ == expected) << "a tensor of " << name(dtype_) << " read as " << name(expected);
}

}  // namespace trireme
