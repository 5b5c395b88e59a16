// Blocked after Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (ACM TOMS 2008):
// operands are copied into panels that the innermost loop reads in order, which makes every transposition run
// alike.
//
// The narrower operand is packed first, by all threads; then each task packs a block of the wider one for
// itself and multiplies it by all of the narrower one.  Tasks meet nowhere until the end.
#include "kernels/cpu/gemm.h"

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/transpose.h"
#include "kernels/threads.h"

TRIREME_BEGIN_ISA

namespace {

// A tile of the result, kept in registers: kTileRows * kTileVecs sums, kTileVecs operands and one more.
#if TRIREME_ISA_LEVEL == 4
constexpr int kTileRows = 8;
#else
constexpr int kTileRows = 4;
#endif
constexpr int kTileVecs = 3;
constexpr std::int64_t kTileColumns = kTileVecs * kLanes;
// Terms of a sum that are packed at a time: a block of a task's operand stays in the second cache.
constexpr std::int64_t kMaxDepth = 384;
// Rows of the left operand that stay in the second cache while the right one's panels pass by.
constexpr std::int64_t kBlockRows = 128;
// As many rows are not worth packing for.
constexpr std::int64_t kFewRows = 4;
// Elements of the shared operand that are packed at a time, to stay in the third cache.
constexpr std::int64_t kMaxShared = std::int64_t{1} << 20;

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}
std::int64_t least(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}

// An operand, seen as lines (rows of the left one, columns of the right one) of K terms each.
struct Operand {
  const float* data;
  std::int64_t stride;
  bool lines_contiguous;  // in memory a line's terms follow each other, or the lines' equal terms do
  std::int64_t num_lines;
  int panel_lines;

  std::int64_t num_panels() const { return divide_up(num_lines, panel_lines); }

  // Copies panels [first, first + num)'s terms [k, k + depth), each to to[panel][term][line], with zeros for
  // lines that there aren't.
  void pack(float* to, std::int64_t first, std::int64_t num, std::int64_t k, std::int64_t depth) const {
    if (panel_lines == kTileRows) {
      pack_panels<kTileRows>(to, first, num, k, depth);
    } else {
      pack_panels<kTileColumns>(to, first, num, k, depth);
    }
  }

 private:
  template <int kLines>
  void pack_panels(float* to, std::int64_t first, std::int64_t num, std::int64_t k,
                   std::int64_t depth) const {
    const std::int64_t whole = least(num, num_lines / kLines - first);
    if (lines_contiguous) {
      for (std::int64_t i = 0; i < whole; ++i) {
        transpose<block_size(kLines)>(to + i * kLines * depth, kLines,
                                      data + (first + i) * kLines * stride + k, stride, kLines, depth);
      }
    } else {
      // By terms first: memory is read in long runs.
      for (std::int64_t t = 0; t < depth; ++t) {
        const float* const from = data + (k + t) * stride + first * kLines;
        for (std::int64_t i = 0; i < whole; ++i) {
          std::memcpy(to + (i * depth + t) * kLines, from + i * kLines, kLines * sizeof(float));
        }
      }
    }
    if (whole < num) pack_last_panel<kLines>(to + whole * kLines * depth, first + whole, k, depth);
  }

  template <int kLines>
  void pack_last_panel(float* to, std::int64_t panel, std::int64_t k, std::int64_t depth) const {
    const std::int64_t line_stride = lines_contiguous ? stride : 1;
    const std::int64_t term_stride = lines_contiguous ? 1 : stride;
    const std::int64_t first = panel * kLines;
    for (std::int64_t t = 0; t < depth; ++t) {
      for (std::int64_t j = 0; j < kLines; ++j) {
        to[t * kLines + j] =
            first + j < num_lines ? data[(first + j) * line_stride + (k + t) * term_stride] : 0.0F;
      }
    }
  }

  static constexpr int block_size(int lines) { return lines % kLanes == 0 ? kLanes : lines; }
};

// What a tile of the result starts from.
enum class Start { kZero, kBias, kResult };

// c = start + left right, of packed panels.
void multiply_panels(float* c, std::int64_t stride, Start start, const float* bias, const float* left,
                     const float* right, std::int64_t depth) {
  Vec sum[kTileRows][kTileVecs];
  for (int r = 0; r < kTileRows; ++r) {
    __builtin_prefetch(c + r * stride, 1);
    __builtin_prefetch(c + r * stride + kTileColumns - 1, 1);
    for (int v = 0; v < kTileVecs; ++v) sum[r][v] = Vec{};
  }
  for (std::int64_t k = 0; k < depth; ++k) {
    Vec b[kTileVecs];
    for (int v = 0; v < kTileVecs; ++v) b[v] = load(right + v * kLanes);
    for (int r = 0; r < kTileRows; ++r) {
      const float a = left[r];
      for (int v = 0; v < kTileVecs; ++v) sum[r][v] += a * b[v];
    }
    left += kTileRows;
    right += kTileColumns;
  }
  for (int r = 0; r < kTileRows; ++r) {
    for (int v = 0; v < kTileVecs; ++v) {
      float* const to = c + r * stride + v * kLanes;
      if (start == Start::kResult) sum[r][v] += load(to);
      if (start == Start::kBias) sum[r][v] += load(bias + v * kLanes);
      store(to, sum[r][v]);
    }
  }
}

// The same for a tile at the right or lower edge, of which `rows` times `columns` exist.
void multiply_panels_at_edge(float* c, std::int64_t stride, Start start, const float* bias, const float* left,
                             const float* right, std::int64_t depth, std::int64_t rows,
                             std::int64_t columns) {
  alignas(64) float tile[kTileRows * kTileColumns];
  multiply_panels(tile, kTileColumns, Start::kZero, nullptr, left, right, depth);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t n = 0; n < columns; ++n) {
      float value = tile[r * kTileColumns + n];
      if (start == Start::kResult) value += c[r * stride + n];
      if (start == Start::kBias) value += bias[n];
      c[r * stride + n] = value;
    }
  }
}

// The result: where it is, and what it starts from.
struct Result {
  float* data;
  std::int64_t stride;
  std::int64_t num_rows, num_columns;
  const float* bias;
  bool accumulate;
  GemmEpilogue epilogue;

  Start start(std::int64_t k) const {
    if (accumulate || k > 0) return Start::kResult;
    return bias != nullptr ? Start::kBias : Start::kZero;
  }

  // Adds terms [k, k + depth) to the block of `row_panels` from `first_row_panel` on and `column_panels`,
  // likewise. `left` and `right` are the block's packed panels.
  void add_block(std::int64_t first_row_panel, std::int64_t row_panels, const float* left,
                 std::int64_t first_column_panel, std::int64_t column_panels, const float* right,
                 std::int64_t k, std::int64_t depth) const {
    for (std::int64_t j = 0; j < column_panels; ++j) {
      const std::int64_t n = (first_column_panel + j) * kTileColumns;
      const std::int64_t columns = least(kTileColumns, num_columns - n);
      const float* const bias_n = bias == nullptr ? nullptr : bias + n;
      for (std::int64_t i = 0; i < row_panels; ++i) {
        const std::int64_t m = (first_row_panel + i) * kTileRows;
        const std::int64_t rows = least(kTileRows, num_rows - m);
        float* const c = data + m * stride + n;
        const float* const left_panel = left + i * kTileRows * depth;
        const float* const right_panel = right + j * kTileColumns * depth;
        if (rows == kTileRows && columns == kTileColumns) {
          multiply_panels(c, stride, start(k), bias_n, left_panel, right_panel, depth);
        } else {
          multiply_panels_at_edge(c, stride, start(k), bias_n, left_panel, right_panel, depth, rows, columns);
        }
      }
    }
  }

  void finish_block(std::int64_t first_row_panel, std::int64_t row_panels, std::int64_t first_column_panel,
                    std::int64_t column_panels) const {
    if (epilogue.function == nullptr) return;
    const std::int64_t m = first_row_panel * kTileRows;
    const std::int64_t n = first_column_panel * kTileColumns;
    epilogue.function(epilogue.context, m, least(row_panels * kTileRows, num_rows - m), n,
                      least(column_panels * kTileColumns, num_columns - n));
  }
};

// Panels of each side that a task takes.
struct Tasks {
  std::int64_t left_panels, right_panels;  // of one task
  std::int64_t left_blocks, right_blocks;  // how many tasks that makes along each side
};

// Blocks that fill the second cache, unless more tasks are wanted to keep all threads busy to the end.
Tasks divide(const Operand& left, const Operand& right, bool left_shared) {
  const Operand& own = left_shared ? right : left;
  const Operand& shared = left_shared ? left : right;
  const std::int64_t wanted = 6 * num_threads();
  std::int64_t own_panels = divide_up(left_shared ? 192 : kBlockRows, own.panel_lines);
  while (own_panels > 1 && divide_up(own.num_panels(), own_panels) < wanted &&
         own_panels * own.panel_lines > kTileColumns) {
    own_panels = divide_up(own_panels, 2);
  }
  const std::int64_t own_blocks = divide_up(own.num_panels(), own_panels);
  const std::int64_t smallest = divide_up(kBlockRows, shared.panel_lines);
  const std::int64_t most = divide_up(shared.num_panels(), smallest);
  const std::int64_t shared_blocks = least(most, divide_up(num_threads() == 1 ? 1 : wanted, own_blocks * 2));
  const std::int64_t shared_panels = divide_up(shared.num_panels(), shared_blocks);
  const std::int64_t blocks = divide_up(shared.num_panels(), shared_panels);
  return left_shared ? Tasks{shared_panels, own_panels, blocks, own_blocks}
                     : Tasks{own_panels, shared_panels, own_blocks, blocks};
}

// Terms [begin, end) of every sum.
void add_terms(const Result& c, const Operand& left, const Operand& right, bool left_shared,
               std::int64_t begin, std::int64_t end, bool last) {
  const Operand& shared = left_shared ? left : right;
  const Operand& own = left_shared ? right : left;
  const std::int64_t num_steps = divide_up(end - begin, kMaxDepth);
  const std::int64_t step = divide_up(end - begin, num_steps);
  const std::int64_t shared_lines = shared.num_panels() * shared.panel_lines;
  float* const packed = scratch_of_op(shared_lines * (end - begin));
  const auto packed_panel = [&](std::int64_t k, std::int64_t panel) {
    return packed + shared_lines * (k - begin) + panel * shared.panel_lines * least(step, end - k);
  };
  constexpr std::int64_t kPanelsAtOnce = 4;
  const std::int64_t num_ranges = divide_up(shared.num_panels(), kPanelsAtOnce);
  parallel_for(num_ranges * num_steps, 1, [&](std::int64_t i, std::int64_t) {
    const std::int64_t k = begin + i / num_ranges * step;
    const std::int64_t panel = i % num_ranges * kPanelsAtOnce;
    shared.pack(packed_panel(k, panel), panel, least(kPanelsAtOnce, shared.num_panels() - panel), k,
                least(step, end - k));
  });

  const Tasks tasks = divide(left, right, left_shared);
  const std::int64_t own_panels = left_shared ? tasks.right_panels : tasks.left_panels;
  parallel_for(tasks.left_blocks * tasks.right_blocks, 1, [&](std::int64_t task, std::int64_t) {
    const std::int64_t first_left = task % tasks.left_blocks * tasks.left_panels;
    const std::int64_t first_right = task / tasks.left_blocks * tasks.right_panels;
    const std::int64_t num_left = least(tasks.left_panels, left.num_panels() - first_left);
    const std::int64_t num_right = least(tasks.right_panels, right.num_panels() - first_right);
    float* const block = scratch_of_thread(own_panels * own.panel_lines * step);
    for (std::int64_t k = begin; k < end; k += step) {
      const std::int64_t depth = least(step, end - k);
      own.pack(block, left_shared ? first_right : first_left, left_shared ? num_right : num_left, k, depth);
      const std::int64_t rows_at_once = divide_up(kBlockRows, kTileRows);
      for (std::int64_t i = 0; i < num_left; i += rows_at_once) {
        const std::int64_t num = least(rows_at_once, num_left - i);
        const float* const left_panels =
            left_shared ? packed_panel(k, first_left + i) : block + i * kTileRows * depth;
        const float* const right_panels = left_shared ? block : packed_panel(k, first_right);
        c.add_block(first_left + i, num, left_panels, first_right, num_right, right_panels, k, depth);
        if (last && k + step >= end) c.finish_block(first_left + i, num, first_right, num_right);
      }
    }
  });
}

// c for a few rows, as when one token is generated at a time: the right operand is read once, where it is.
void multiply_few_rows(const Result& c, const Operand& left, const Operand& right, std::int64_t depth) {
  parallel_for(c.num_columns, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const float* const b = right.data + n * right.stride;
      for (std::int64_t m = 0; m < c.num_rows; ++m) {
        const float* const a = left.data + m * left.stride;
        float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t k = 0; k < depth; ++k) sum += a[k] * b[k];
        float* const to = c.data + m * c.stride + n;
        if (c.start(0) == Start::kResult) sum += *to;
        if (c.start(0) == Start::kBias) sum += c.bias[n];
        *to = sum;
      }
    }
    if (c.epilogue.function != nullptr) {
      c.epilogue.function(c.epilogue.context, 0, c.num_rows, begin, end - begin);
    }
  });
}

}  // namespace

void gemm(Tensor c_MN, Tensor a, Tensor b, MatmulOptions options, const float* bias, GemmEpilogue epilogue) {
  const std::int64_t m = c_MN.dim(0);
  const std::int64_t n = c_MN.dim(1);
  const std::int64_t depth = a.dim(options.transpose_a ? 0 : 1);
  if (m == 0 || n == 0) return;
  const Operand left{a.data<float>(), a.stride(0), !options.transpose_a, m, kTileRows};
  const Operand right{b.data<float>(), b.stride(0), options.transpose_b, n, static_cast<int>(kTileColumns)};
  const Result c{c_MN.data<float>(), c_MN.stride(0), m, n, bias, options.accumulate, epilogue};
  const bool is_read_in_place = m <= kFewRows && left.lines_contiguous && right.lines_contiguous;
  if (is_read_in_place || depth == 0) {  // where sums are empty nothing is read
    return multiply_few_rows(c, left, right, depth);
  }
  const bool left_shared = m <= n;
  const std::int64_t num_slabs = divide_up(depth * (left_shared ? m : n), kMaxShared);
  const std::int64_t slab = divide_up(divide_up(depth, num_slabs), kMaxDepth) * kMaxDepth;
  for (std::int64_t k = 0; k < depth; k += slab) {
    add_terms(c, left, right, left_shared, k, least(depth, k + slab), k + slab >= depth);
  }
}

TRIREME_END_ISA
