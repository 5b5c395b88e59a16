#include "tests/vgpu/cudnn/operation.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace trireme::vgpu {
namespace {

template <typename F>
void for_each(const Four& dims, const F& f) {
  Four i;
  for (i[0] = 0; i[0] < dims[0]; ++i[0])
    for (i[1] = 0; i[1] < dims[1]; ++i[1])
      for (i[2] = 0; i[2] < dims[2]; ++i[2])
        for (i[3] = 0; i[3] < dims[3]; ++i[3]) f(i);
}

// The element of a dense tensor that stands at `i` of a larger one: dims of 1 serve for all, and of others
// each element for as many as follow each other.
int64_t place(const Four& dims, const Four& i, const Four& whole) {
  int64_t at = 0;
  for (int dim = 0; dim < 4; ++dim) at = at * dims[dim] + i[dim] * dims[dim] / whole[dim];
  return at;
}

int64_t offset(const Four& strides, const Four& i) {
  return i[0] * strides[0] + i[1] * strides[1] + i[2] * strides[2] + i[3] * strides[3];
}

int num_inputs(int mode) {
  switch (mode) {
    case CUDNN_POINTWISE_EXP:
    case CUDNN_POINTWISE_LOG:
    case CUDNN_POINTWISE_IDENTITY:
    case CUDNN_POINTWISE_GEN_INDEX:
      return 1;
    case CUDNN_POINTWISE_ADD:
    case CUDNN_POINTWISE_SUB:
    case CUDNN_POINTWISE_MUL:
    case CUDNN_POINTWISE_DIV:
    case CUDNN_POINTWISE_CMP_GE:
      return 2;
    case CUDNN_POINTWISE_BINARY_SELECT:
      return 3;
    default:
      return 0;
  }
}

float compute(int mode, float a, float b, float condition) {
  switch (mode) {
    case CUDNN_POINTWISE_EXP:
      return std::exp(a);
    case CUDNN_POINTWISE_LOG:
      return std::log(a);
    case CUDNN_POINTWISE_ADD:
      return a + b;
    case CUDNN_POINTWISE_SUB:
      return a - b;
    case CUDNN_POINTWISE_MUL:
      return a * b;
    case CUDNN_POINTWISE_DIV:
      return a / b;
    case CUDNN_POINTWISE_CMP_GE:
      return a >= b ? 1 : 0;
    case CUDNN_POINTWISE_BINARY_SELECT:
      return condition != 0 ? a : b;
    default:
      return a;  // the identity
  }
}

bool divides(const Four& dims, const Four& whole) {
  for (int dim = 0; dim < 4; ++dim) {
    if (dims[dim] < 1 || whole[dim] % dims[dim] != 0) return false;
  }
  return true;
}

bool is_one_or_all(const Four& dims, const Four& whole) {
  for (int dim = 0; dim < 4; ++dim) {
    if (dims[dim] != 1 && dims[dim] != whole[dim]) return false;
  }
  return true;
}

}  // namespace

float round_to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return x;
  return std::bit_cast<float>((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u);
}

std::string GraphOperation::refusal() const {
  const Four& y = output.dims;
  switch (type) {
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
      if (num_inputs(mode) == 0) return "pointwise mode " + std::to_string(mode) + " is unknown here";
      if (int(inputs.size()) != num_inputs(mode)) return "a pointwise operation has not all its inputs";
      if (mode == CUDNN_POINTWISE_GEN_INDEX && (axis < 0 || axis > 3)) return "an index needs an axis";
      for (const GraphTensor& x : inputs) {
        if (!is_one_or_all(x.dims, y)) return "dims of a pointwise operation don't fit";
      }
      return {};
    case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR: {
      const Four &a = inputs[0].dims, &b = inputs[1].dims;
      const bool fits = a[3] == b[2] && a[2] == y[2] && b[3] == y[3] && divides({a[0], a[1], 1, 1}, y) &&
                        divides({b[0], b[1], 1, 1}, y);
      return fits ? "" : "dims of a matmul don't fit";
    }
    case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR:
      if (mode != CUDNN_REDUCE_TENSOR_ADD && mode != CUDNN_REDUCE_TENSOR_MAX)
        return "reduction " + std::to_string(mode) + " is unknown here";
      return divides(y, inputs[0].dims) ? "" : "dims of a reduction don't fit";
    case CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR:
      return inputs[0].size() == output.size() ? "" : "a reshape changes the number of elements";
    default:
      return "operation " + std::to_string(type) + " is unknown here";
  }
}

Values GraphOperation::run(const std::vector<const Values*>& x) const {
  const Four& dims = output.dims;
  Values y(output.size());
  size_t n = 0;
  if (type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) {
    for_each(dims, [&](const Four& i) {
      std::array<float, 3> in{};
      for (size_t j = 0; j < x.size(); ++j) in[j] = (*x[j])[place(inputs[j].dims, i, dims)];
      y[n++] = mode == CUDNN_POINTWISE_GEN_INDEX ? float(i[axis]) : compute(mode, in[0], in[1], in[2]);
    });
  } else if (type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR) {
    const Four &a = inputs[0].dims, &b = inputs[1].dims;
    for_each(dims, [&](const Four& i) {
      const float* row = &(*x[0])[place(a, {i[0], i[1], i[2], 0}, {dims[0], dims[1], a[2], a[3]})];
      const float* column = &(*x[1])[place(b, {i[0], i[1], 0, i[3]}, {dims[0], dims[1], b[2], b[3]})];
      float sum = 0;
      for (int64_t k = 0; k < a[3]; ++k) sum += row[k] * column[k * b[3]];
      y[n++] = sum;
    });
  } else if (type == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR) {
    const bool is_sum = mode == CUDNN_REDUCE_TENSOR_ADD;
    std::fill(y.begin(), y.end(), is_sum ? 0.0F : -std::numeric_limits<float>::infinity());
    for_each(inputs[0].dims, [&](const Four& i) {
      float& result = y[place(dims, i, inputs[0].dims)];
      const float value = (*x[0])[n++];
      result = is_sum ? result + value : std::max(result, value);
    });
  } else {  // a reshape: elements keep their places in memory
    std::map<int64_t, float> memory;
    for_each(inputs[0].dims, [&](const Four& i) { memory[offset(inputs[0].strides, i)] = (*x[0])[n++]; });
    n = 0;
    for_each(dims, [&](const Four& i) { y[n++] = memory.at(offset(output.strides, i)); });
  }
  if (output.type == CUDNN_DATA_BFLOAT16) std::transform(y.begin(), y.end(), y.begin(), round_to_bf16);
  return y;
}

}  // namespace trireme::vgpu
