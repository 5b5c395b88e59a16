#include "kernels/cuda/check.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/dropout.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/norm.h"

namespace trireme::cuda {
namespace {

template <typename T, typename W>
struct Operands {
  T* dsum;
  T* dbranch;      // null: not wanted
  float* partial;  // [blocks, kSums, C]: sums of each block's rows for dweight, then for dbias
  const T* dy;
  const T* sum;
  const float* mean;  // null, as dbias: RMSNorm
  const float* rstd;
  const W* weight;
  DropoutMask dropout;
  std::int64_t num_rows;
  std::int64_t rows_per_block;
  RowPlan plan;
  bool sums_in_shared;  // whether shared memory holds the sums of the block's groups while it runs
};

extern __shared__ __align__(16) float shared_sums[];  // [groups, kSums, C]

// Gradients that are sums over rows: of weight and bias, or of weight alone.
template <bool kIsLayerNorm>
constexpr int kSums = kIsLayerNorm ? 2 : 1;

// A group's sums over its rows: each thread adds to the columns that are its own.
template <bool kIsLayerNorm, int kWidth>
class ColumnSums {
 public:
  __device__ ColumnSums(float* partial, bool in_shared, int group, int width)
      : shared_(shared_sums + static_cast<std::int64_t>(group) * kSums<kIsLayerNorm> * width),
        global_(partial + static_cast<std::int64_t>(blockIdx.x) * kSums<kIsLayerNorm> * width),
        in_shared_(in_shared),
        width_(width) {}

  // Where column c lies in shared memory.  Threads that each have two vectors of four columns would meet in
  // the banks, four at a time: every other eight vectors change places in pairs.
  __device__ static int place(int c) { return kWidth == 8 ? c ^ (c >> 3 & 4) : c; }

  __device__ void add(int c, const Floats<kWidth>& dweight, const Floats<kWidth>& dbias) {
    constexpr int kAtOnce = kWidth == 1 ? 1 : 4;
#pragma unroll
    for (int j = 0; j < kWidth; j += kAtOnce) {
      Floats<kAtOnce> weight, bias;
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        weight[i] = dweight[j + i];
        bias[i] = dbias[j + i];
      }
      float* const sums = in_shared_ ? shared_ + place(c + j) : global_ + c + j;
      add_to(sums, weight);
      if constexpr (kIsLayerNorm) add_to(sums + width_, bias);
    }
  }

 private:
  template <int n>
  __device__ static void add_to(float* sums, const Floats<n>& x) {
    Floats<n> sum = load_floats<n>(sums);
#pragma unroll
    for (int i = 0; i < n; ++i) sum[i] += x[i];
    store(sums, pack<float>(sum));
  }

  float* shared_;
  float* global_;
  bool in_shared_;
  int width_;
};

// Of a row a thread holds 24 numbers of each operand, or 4 if it must load them one by one.
template <int kWidth>
constexpr int kPacks = kWidth == 1 ? 4 : 24 / kWidth;

// What a thread holds of a row.
template <int kWidth>
struct Held {
  Floats<kWidth> x;  // the sum, then normalised
  Floats<kWidth> g;  // dy, then times weight
};

template <bool kIsLayerNorm, typename T, typename W, int kWidth>
__global__ void __launch_bounds__(kMaxRowThreads, 1) norm_backward(const Operands<T, W> p) {
  constexpr int kNumSums = kSums<kIsLayerNorm>;
  RowGroup group(p.plan);
  const int width = p.plan.width;
  ColumnSums<kIsLayerNorm, kWidth> columns(p.partial, p.sums_in_shared, group.index(), width);
  float* const of_block = p.partial + static_cast<std::int64_t>(blockIdx.x) * kNumSums * width;
  const int num_sums = kNumSums * width * (p.sums_in_shared ? p.plan.rows_at_once : 1);
  for (int i = threadIdx.x; i < num_sums; i += blockDim.x)
    (p.sums_in_shared ? shared_sums : of_block)[i] = 0.0F;
  __syncthreads();

  const std::int64_t first = blockIdx.x * p.rows_per_block;
  const std::int64_t last = min(first + p.rows_per_block, p.num_rows);
  for (std::int64_t base = first; base < last; base += p.plan.rows_at_once) {
    const std::int64_t row = base + group.index();
    const bool is_there = row < last;
    const std::int64_t begin = row * width;
    const float mean = kIsLayerNorm && is_there ? p.mean[row] : 0.0F;
    const float rstd = is_there ? p.rstd[row] : 0.0F;
    HeldRow<Held<kWidth>, kPacks<kWidth>, kWidth> held_row(group, p.plan, is_there);

    const auto read = [&](Held<kWidth>& held, int c) {
      held.x = load_floats<kWidth>(p.sum + begin + c);
      held.g = load_floats<kWidth>(p.dy + begin + c);
    };
    const auto normalise = [&](Held<kWidth>& held, int c) {
      const Floats<kWidth> weight = load_floats<kWidth>(p.weight + c);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        held.x[j] = (held.x[j] - mean) * rstd;
        held.g[j] *= weight[j];
      }
    };
    held_row.visit_held(read);  // all loads before anything waits for one
    float dots[kNumSums] = {};  // of g with the normalised row, and with ones
    held_row.visit(read, [&](Held<kWidth>& held, int c) {
      const Floats<kWidth> dy = held.g;
      normalise(held, c);
      Floats<kWidth> dweight;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        dots[0] += held.g[j] * held.x[j];
        if constexpr (kIsLayerNorm) dots[1] += held.g[j];
        dweight[j] = dy[j] * held.x[j];
      }
      columns.add(c, dweight, dy);
    });
    group.sum(dots);

    const float mean_norm = dots[0] * p.plan.inverse_width;
    const float mean_1 = kIsLayerNorm ? dots[kNumSums - 1] * p.plan.inverse_width : 0.0F;
    const auto read_again = [&](Held<kWidth>& held, int c) {
      read(held, c);
      normalise(held, c);
    };
    held_row.visit(read_again, [&](const Held<kWidth>& held, int c) {
      Floats<kWidth> dsum = load_floats<kWidth>(p.dsum + begin + c);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) dsum[j] += rstd * (held.g[j] - mean_1 - held.x[j] * mean_norm);
      store(p.dsum + begin + c, pack<T>(dsum));
      if (p.dbranch == nullptr) return;
      if (p.dropout) {
        const Floats<kWidth> factors = p.dropout.template factors<kWidth>(begin + c);
#pragma unroll
        for (int j = 0; j < kWidth; ++j) dsum[j] *= factors[j];
      }
      store(p.dbranch + begin + c, pack<T>(dsum));
    });
  }
  if (!p.sums_in_shared) return;

  __syncthreads();
  for (int i = threadIdx.x; i < kNumSums * width; i += blockDim.x) {
    const int place = i < width ? columns.place(i) : width + columns.place(i - width);
    float sum = 0.0F;
    for (int g = 0; g < p.plan.rows_at_once; ++g) sum += shared_sums[g * kNumSums * width + place];
    of_block[i] = sum;
  }
}

// What a block may have for its sums.
int max_shared_bytes(Device device) {
  int bytes = 0;
  TRIREME_CUDA(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device.index));
  constexpr int kOfRowGroup = 1024;  // at most
  return bytes - kOfRowGroup;
}

}  // namespace

void residual_norm_backward(Tensor dsum_NC, Tensor dbranch_NC, Tensor dweight_C, Tensor dbias_C, Tensor dy_NC,
                            Tensor sum_NC, Tensor mean_N, Tensor rstd_N, Tensor weight_C, Dropout dropout,
                            Stream stream) {
  const std::int64_t num_rows = sum_NC.dim(0);
  const std::int64_t width = sum_NC.dim(1);
  const std::int64_t num_blocks = num_ranges(num_rows);
  const std::int64_t sums_bytes = (mean_N ? kSums<true> : kSums<false>)*width * size_bytes(DType::kFloat32);
  auto* const partial = static_cast<float*>(stream.cuda()->scratch(num_blocks * sums_bytes));
  const auto run = [&]<typename T, typename W, int kWidth>() {
    const RowPlan plan = plan_rows<kPacks<kWidth>, kWidth>(width);
    const std::int64_t shared_bytes = plan.rows_at_once * sums_bytes;
    const bool in_shared = shared_bytes <= max_shared_bytes(stream.device());
    const auto kernel = mean_N ? norm_backward<true, T, W, kWidth> : norm_backward<false, T, W, kWidth>;
    launch(kernel, {num_blocks, plan.num_threads(), in_shared ? shared_bytes : 0}, stream,
           Operands<T, W>{.dsum = dsum_NC.data<T>(),
                          .dbranch = dbranch_NC ? dbranch_NC.data<T>() : nullptr,
                          .partial = partial,
                          .dy = dy_NC.data<T>(),
                          .sum = sum_NC.data<T>(),
                          .mean = mean_N ? mean_N.data<float>() : nullptr,
                          .rstd = rstd_N.data<float>(),
                          .weight = weight_C.data<W>(),
                          .dropout = DropoutMask(dropout),
                          .num_rows = num_rows,
                          .rows_per_block = rows_per_range(num_rows),
                          .plan = plan,
                          .sums_in_shared = in_shared});
  };
  const bool aligned = width * size_bytes(sum_NC.dtype()) % 16 == 0 &&
                       are_aligned(dsum_NC.raw_data(), dbranch_NC.raw_data(), dy_NC.raw_data(),
                                   sum_NC.raw_data(), weight_C.raw_data());
  with_type_and_width(sum_NC.dtype(), aligned, [&]<typename T, int kWidth>() {
    if (weight_C.dtype() == DType::kFloat32) {
      run.template operator()<T, float, kWidth>();
    } else {
      run.template operator()<T, T, kWidth>();
    }
  });
  add_column_sums(dweight_C.data<float>(), mean_N ? dbias_C.data<float>() : nullptr, partial, num_blocks,
                  width, stream);
}

}  // namespace trireme::cuda
