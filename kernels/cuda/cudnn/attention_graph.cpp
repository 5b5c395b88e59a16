#include "kernels/cuda/cudnn/attention_graph.h"

namespace trireme::cuda::cudnn {
namespace {

using Dims = std::array<std::int64_t, 4>;

constexpr std::int64_t kFirstVirtualUid = 100;

Dims dense(const Dims& dims) {
  return {dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1};
}

}  // namespace

// Adds operations one by one.  A tensor is known by its place in `tensors_`.
class GraphBuilder {
 public:
  explicit GraphBuilder(const AttentionShape& shape) : shape_(shape) {}

  struct Tensor {
    cudnnBackendDescriptor_t raw;
    Dims dims;
  };

  // [B, heads, length, D] in memory.
  Tensor rows(Uid uid, std::int64_t length, std::int64_t num_heads, const Strides& strides) {
    return in_memory(uid, CUDNN_DATA_BFLOAT16, {shape_.num_sequences, num_heads, length, shape_.width},
                     {strides[0], strides[2], strides[1], 1});
  }
  // The same memory with the last two dims changed for one another.
  Tensor columns(Uid uid, std::int64_t length, std::int64_t num_heads, const Strides& strides) {
    return in_memory(uid, CUDNN_DATA_BFLOAT16, {shape_.num_sequences, num_heads, shape_.width, length},
                     {strides[0], strides[2], 1, strides[1]});
  }
  // One number for each query, [B, H, T, 1].
  Tensor of_queries(Uid uid) { return in_memory(uid, CUDNN_DATA_FLOAT, query_dims(), dense(query_dims())); }
  // A number that is given as a float of the host.
  Tensor scalar(Uid uid) {
    result_.uids_.push_back(uid);
    return tensor(uid, CUDNN_DATA_FLOAT, {1, 1, 1, 1}, {1, 1, 1, 1}, false, true);
  }

  Tensor matmul(const Tensor& a, const Tensor& b) {
    const Tensor c = hidden({a.dims[0], a.dims[1], a.dims[2], b.dims[3]});
    matmul(a, b, c);
    return c;
  }
  void matmul(const Tensor& a, const Tensor& b, const Tensor& c) {
    Descriptor math(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    math.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
    math.finalize();
    Descriptor op(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, math);
    set(op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    set(op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    set(op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    add(std::move(math), std::move(op));
  }

  // y = mode(x, b), or mode(x) if `b` is null.
  void pointwise(cudnnPointwiseMode_t mode, const Tensor& x, const Tensor* b, const Tensor& y,
                 cudnnDataType_t type = CUDNN_DATA_FLOAT, std::int64_t axis = -1,
                 const Tensor* condition = nullptr) {
    Descriptor math(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    math.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode);
    math.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, type);
    if (axis >= 0) math.set(CUDNN_ATTR_POINTWISE_AXIS, axis);
    math.finalize();
    Descriptor op(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, math);
    set(op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b != nullptr) set(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
    if (condition != nullptr) set(op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, *condition);
    set(op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    add(std::move(math), std::move(op));
  }
  Tensor pointwise(cudnnPointwiseMode_t mode, const Tensor& x, const Tensor& b) {
    const Tensor y = hidden(x.dims);
    pointwise(mode, x, &b, y);
    return y;
  }
  Tensor pointwise(cudnnPointwiseMode_t mode, const Tensor& x) {
    const Tensor y = hidden(x.dims);
    pointwise(mode, x, nullptr, y);
    return y;
  }

  void reduce(cudnnReduceTensorOp_t operation, const Tensor& x, const Tensor& y) {
    Descriptor math(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    math.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, operation);
    math.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
    math.finalize();
    Descriptor op(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, math);
    set(op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    set(op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    add(std::move(math), std::move(op));
  }

  // The last two dims changed for one another.
  Tensor transposed(const Tensor& x, const Dims& strides) {
    const Tensor y =
        tensor(next_uid_++, CUDNN_DATA_BFLOAT16, {x.dims[0], x.dims[1], x.dims[3], x.dims[2]}, strides, true);
    Descriptor op(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    set(op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    set(op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    op.finalize();
    result_.operations_.push_back(std::move(op));
    return y;
  }
  Tensor transposed(const Tensor& x) {
    const Dims s = dense(x.dims);
    return transposed(x, {s[0], s[1], 1, s[2]});
  }

  // What no query sees gets a number whose exponential is 0.
  Tensor masked(const Tensor& x) {
    if (!shape_.is_causal) return x;
    const Tensor row = hidden(x.dims, CUDNN_DATA_INT32), column = hidden(x.dims, CUDNN_DATA_INT32);
    pointwise(CUDNN_POINTWISE_GEN_INDEX, x, nullptr, row, CUDNN_DATA_INT32, 2);
    pointwise(CUDNN_POINTWISE_GEN_INDEX, x, nullptr, column, CUDNN_DATA_INT32, 3);
    const Tensor is_seen = hidden(x.dims, CUDNN_DATA_BOOLEAN);
    pointwise(CUDNN_POINTWISE_CMP_GE, row, &column, is_seen, CUDNN_DATA_BOOLEAN);
    const Tensor lowest = scalar(kHidden), y = hidden(x.dims);
    pointwise(CUDNN_POINTWISE_BINARY_SELECT, x, &lowest, y, CUDNN_DATA_FLOAT, -1, &is_seen);
    return y;
  }

  Tensor hidden(const Dims& dims, cudnnDataType_t type = CUDNN_DATA_FLOAT) {
    return tensor(next_uid_++, type, dims, dense(dims), true);
  }
  Dims query_dims() const { return {shape_.num_sequences, shape_.num_heads, shape_.num_queries, 1}; }

  AttentionGraph finish(cudnnHandle_t handle) {
    result_.graph_.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, result_.operations_);
    result_.graph_.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, handle);
    result_.graph_.finalize();
    return std::move(result_);
  }

 private:
  static void set(Descriptor& op, cudnnBackendAttributeName_t name, const Tensor& x) {
    op.set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, x.raw);
  }

  Tensor in_memory(Uid uid, cudnnDataType_t type, const Dims& dims, const Dims& strides) {
    result_.uids_.push_back(uid);
    return tensor(uid, type, dims, strides);
  }

  Tensor tensor(std::int64_t uid, cudnnDataType_t type, const Dims& dims, const Dims& strides,
                bool is_virtual = false, bool is_by_value = false) {
    Descriptor x(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    x.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid);
    x.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type);
    x.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims.data());
    x.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides.data());
    x.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, std::int64_t{16});
    x.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, is_virtual);
    x.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, is_by_value);
    x.finalize();
    result_.parts_.push_back(std::move(x));
    return {result_.parts_.back().raw(), dims};
  }

  void add(Descriptor math, Descriptor op) {
    op.finalize();
    result_.parts_.push_back(std::move(math));
    result_.operations_.push_back(std::move(op));
  }

  const AttentionShape& shape_;
  AttentionGraph result_;
  std::int64_t next_uid_ = kFirstVirtualUid;
};

AttentionGraph AttentionGraph::forward(const AttentionShape& s, cudnnHandle_t handle) {
  GraphBuilder g(s);
  const auto q = g.rows(kQ, s.num_queries, s.num_heads, s.q);
  const auto k = g.columns(kK, s.num_keys, s.num_kv_heads, s.k);
  const auto v = g.rows(kV, s.num_keys, s.num_kv_heads, s.v);
  const auto out = g.rows(kOut, s.num_queries, s.num_heads, s.out);
  const auto scores = g.masked(g.pointwise(CUDNN_POINTWISE_MUL, g.matmul(q, k), g.scalar(kScale)));
  const auto highest = g.hidden(g.query_dims()), sum = g.hidden(g.query_dims());
  g.reduce(CUDNN_REDUCE_TENSOR_MAX, scores, highest);
  const auto exponentials =
      g.pointwise(CUDNN_POINTWISE_EXP, g.pointwise(CUDNN_POINTWISE_SUB, scores, highest));
  g.reduce(CUDNN_REDUCE_TENSOR_ADD, exponentials, sum);
  if (s.has_stats) {
    const auto log = g.pointwise(CUDNN_POINTWISE_LOG, sum);
    g.pointwise(CUDNN_POINTWISE_ADD, highest, &log, g.of_queries(kStats));
  }
  const auto p = g.hidden(scores.dims, CUDNN_DATA_BFLOAT16);
  g.pointwise(CUDNN_POINTWISE_DIV, exponentials, &sum, p);
  g.matmul(p, v, out);
  return g.finish(handle);
}

AttentionGraph AttentionGraph::backward(const AttentionShape& s, cudnnHandle_t handle) {
  GraphBuilder g(s);
  const auto q = g.rows(kQ, s.num_queries, s.num_heads, s.q);
  const auto k = g.columns(kK, s.num_keys, s.num_kv_heads, s.k);
  const auto v = g.columns(kV, s.num_keys, s.num_kv_heads, s.v);
  const auto out = g.rows(kOut, s.num_queries, s.num_heads, s.out);
  const auto dout = g.rows(kDout, s.num_queries, s.num_heads, s.dout);
  const auto stats = g.of_queries(kStats);
  // A product, of all query heads, into a gradient of key/value heads.
  const auto fold = [&](const GraphBuilder::Tensor& a, const GraphBuilder::Tensor& b,
                        const GraphBuilder::Tensor& c) {
    if (s.num_heads == s.num_kv_heads) return g.matmul(a, b, c);
    const auto whole = g.hidden({s.num_sequences, s.num_heads, s.num_keys, s.width}, CUDNN_DATA_BFLOAT16);
    g.matmul(a, b, whole);
    g.reduce(CUDNN_REDUCE_TENSOR_ADD, whole, c);
  };

  // sum = the rows of dout * out, summed
  const auto sum = g.of_queries(kSum), partial = g.hidden(g.query_dims());
  const auto one = g.scalar(kOne);
  g.reduce(CUDNN_REDUCE_TENSOR_ADD, g.pointwise(CUDNN_POINTWISE_MUL, dout, out), partial);
  g.pointwise(CUDNN_POINTWISE_MUL, partial, &one, sum);

  // dv = p^T dout
  const auto scale = g.scalar(kScale);
  const auto scores = g.pointwise(CUDNN_POINTWISE_MUL, g.matmul(q, k), scale);
  const auto p = g.pointwise(CUDNN_POINTWISE_EXP, g.masked(g.pointwise(CUDNN_POINTWISE_SUB, scores, stats)));
  fold(g.transposed(p), dout, g.rows(kDv, s.num_keys, s.num_kv_heads, s.dv));

  // ds = (dout v^T - sum) p scale
  const auto dp =
      g.pointwise(CUDNN_POINTWISE_MUL, g.pointwise(CUDNN_POINTWISE_SUB, g.matmul(dout, v), sum), p);
  const auto ds = g.hidden(dp.dims, CUDNN_DATA_BFLOAT16);
  g.pointwise(CUDNN_POINTWISE_MUL, dp, &scale, ds);

  fold(g.transposed(ds), q, g.rows(kDk, s.num_keys, s.num_kv_heads, s.dk));
  g.matmul(ds, g.transposed(k, {s.k[0], s.k[2], s.k[1], 1}), g.rows(kDq, s.num_queries, s.num_heads, s.dq));
  return g.finish(handle);
}

}  // namespace trireme::cuda::cudnn
