// Attention with a lane for each query: scores are computed transposed, so that the softmax over keys runs
// down the rows of a block, keys and values are read where they are, and no width of head is odd.
#include <cmath>

#include "kernels/attention.h"
#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/head_rows.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tile.h"

TRIREME_BEGIN_ISA

inline constexpr std::int64_t kQueries = kTileWidth;  // of a block
inline constexpr std::int64_t kKeys = 64;             // of a block at most
inline constexpr float kLog2E = 1.44269504F;
inline constexpr float kLn2 = 0.693147181F;

// The online softmax of one block of queries of one head.
class QueryBlock {
 public:
  static std::int64_t scratch_size(std::int64_t width) { return (2 * width + 2 * kKeys) * kQueries; }

  // Queries [first, first + count) of `q`, the first of which stands at key `first_position`.  `scratch` has
  // room for scratch_size(width).
  QueryBlock(float* scratch, const HeadRows& q, std::int64_t first, std::int64_t count, std::int64_t width,
             std::int64_t first_position, float scale)
      : width_(width),
        count_(count),
        vecs_((count + kLanes - 1) / kLanes),
        first_position_(first_position),
        q_(scratch),
        out_(q_ + width * kQueries),
        scores_(out_ + width * kQueries),
        factors_(scores_ + kKeys * kQueries) {
    // Scores in units of log 2, so that exponentials are powers of two.
    transpose_rows(q_, kQueries, q, first, count, width, scale * kLog2E);
    std::memset(out_, 0, static_cast<std::size_t>(width * kQueries) * sizeof(float));
    for (std::int64_t i = 0; i < kQueries; ++i) {
      largest_[i] = -__builtin_inff();
      sum_[i] = 0.0F;
    }
  }

  // Takes in keys [first, first + count).  No query of vectors before `first_vec` sees any of them.
  // `dropout_row` is the index of the first query's first probability, `dropout_stride` the distance to the
  // next's.
  void add_keys(const HeadRows& k, const HeadRows& v, std::int64_t first, std::int64_t count,
                std::int64_t first_vec, bool causal, const DropoutMask* mask, std::int64_t dropout_row,
                std::int64_t dropout_stride) {
    const std::int64_t vecs = vecs_ - first_vec;
    const std::int64_t lane = first_vec * kLanes;
    multiply({scores_ + lane, kQueries}, {k.at(first), k.stride, 1}, {q_ + lane, kQueries}, count, vecs,
             width_, false);
    if (mask != nullptr) draw_factors(*mask, first, count, lane, dropout_row, dropout_stride);
    for (std::int64_t i = first_vec; i < vecs_; ++i) {
      update_softmax(first, count, i * kLanes, causal, mask != nullptr);
    }
    multiply({out_ + lane, kQueries}, {v.at(first), 1, v.stride}, {scores_ + lane, kQueries}, width_, vecs,
             count, true);
  }

  // Once all keys are in.
  void write(const HeadRows& out, std::int64_t first, float* lse) {
    for (std::int64_t lane = 0; lane < vecs_ * kLanes; lane += kLanes) {
      const Vec inverse = 1.0F / load(sum_ + lane);
      for (std::int64_t d = 0; d < width_; ++d) {
        store(out_ + d * kQueries + lane, load(out_ + d * kQueries + lane) * inverse);
      }
    }
    transpose<kLanes>(out.at(first), out.stride, out_, kQueries, width_, count_);
    if (lse == nullptr) return;
    for (std::int64_t i = 0; i < count_; ++i) lse[first + i] = (largest_[i] + std::log2(sum_[i])) * kLn2;
  }

 private:
  void draw_factors(const DropoutMask& mask, std::int64_t first, std::int64_t count, std::int64_t lane,
                    std::int64_t dropout_row, std::int64_t dropout_stride) {
    alignas(64) float row[kKeys];
    for (std::int64_t i = lane; i < count_; ++i) {
      mask.draw(row, dropout_row + i * dropout_stride + first, count);
      for (std::int64_t j = 0; j < count; ++j) factors_[j * kQueries + i] = row[j];
    }
  }

  // Turns one vector of queries' scores into probabilities relative to the largest score so far, and scales
  // down what was summed under a smaller one.
  void update_softmax(std::int64_t first, std::int64_t count, std::int64_t lane, bool causal, bool dropped) {
    float* const column = scores_ + lane;
    if (causal && first + count - 1 > first_position_ + lane) {
      for (std::int64_t j = 0; j < count; ++j) {
        // Lanes below `hidden` stand before key j.
        const std::int64_t hidden = first + j - (first_position_ + lane);
        for (std::int64_t i = 0; i < hidden && i < kLanes; ++i) column[j * kQueries + i] = -__builtin_inff();
      }
    }
    const Vec old = load(largest_ + lane);
    Vec largest = old;
    for (std::int64_t j = 0; j < count; ++j) largest = max(load(column + j * kQueries), largest);
    const Vec correction = exp2_nonpositive(old - largest);
    Vec sum = load(sum_ + lane) * correction;
    for (std::int64_t j = 0; j < count; ++j) {
      const Vec p = exp2_nonpositive(load(column + j * kQueries) - largest);
      sum += p;
      store(column + j * kQueries, dropped ? p * load(factors_ + j * kQueries + lane) : p);
    }
    store(largest_ + lane, largest);
    store(sum_ + lane, sum);
    for (std::int64_t d = 0; d < width_; ++d) {
      float* const out = out_ + d * kQueries + lane;
      store(out, load(out) * correction);
    }
  }

  std::int64_t width_;
  std::int64_t count_;
  std::int64_t vecs_;  // that hold the queries
  std::int64_t first_position_;
  float* q_;        // [D, kQueries], times scale / log 2
  float* out_;      // [D, kQueries], not yet divided by sum_
  float* scores_;   // [kKeys, kQueries]
  float* factors_;  // [kKeys, kQueries], of dropout
  alignas(64) float largest_[kQueries];
  alignas(64) float sum_[kQueries];
};

void attention_forward(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                       const AttentionOptions& options, Stream) {
  const std::int64_t num_queries = q_BTHD.dim(1);
  const std::int64_t num_heads = q_BTHD.dim(2);
  const std::int64_t width = q_BTHD.dim(3);
  const std::int64_t num_keys = k_BSKD.dim(1);
  const std::int64_t heads_per_kv = num_heads / k_BSKD.dim(2);
  const std::int64_t num_blocks = (num_queries + kQueries - 1) / kQueries;
  float* const lse = lse_BHT ? lse_BHT.data<float>() : nullptr;
  const DropoutMask mask(options.dropout);
  const DropoutMask* const mask_if_any = options.dropout ? &mask : nullptr;

  parallel_for(q_BTHD.dim(0) * num_heads * num_blocks, 1, [&](std::int64_t item, std::int64_t) {
    const std::int64_t head = item / num_blocks;  // of all sequences
    const std::int64_t b = head / num_heads;
    const std::int64_t h = head % num_heads;
    // The last queries see most keys: they come first.
    const std::int64_t first = (num_blocks - 1 - item % num_blocks) * kQueries;
    const std::int64_t count = first + kQueries < num_queries ? kQueries : num_queries - first;
    const std::int64_t position = first + (num_keys - num_queries);
    const HeadRows k(k_BSKD, b, h / heads_per_kv);
    const HeadRows v(v_BSKD, b, h / heads_per_kv);
    QueryBlock block(scratch_of_thread(QueryBlock::scratch_size(width)), HeadRows(q_BTHD, b, h), first, count,
                     width, position, options.scale);

    const std::int64_t end = options.causal ? position + count : num_keys;
    const std::int64_t seen_by_all = options.causal ? position + 1 : num_keys;
    const std::int64_t dropout_stride = attention_mask_size(1, 1, num_keys);
    const std::int64_t dropout_row = (head * num_queries + first) * dropout_stride;
    std::int64_t key = 0;
    while (key < end) {
      // Near the diagonal keys come in small blocks, of which the vectors of earlier queries are left out.
      const bool hidden = key + kKeys > seen_by_all && options.causal;
      const std::int64_t most = hidden ? kLanes : kKeys;
      const std::int64_t num = key + most < end ? most : end - key;
      const std::int64_t first_vec = hidden && key > position ? (key - position) / kLanes : 0;
      block.add_keys(k, v, key, num, first_vec, options.causal, mask_if_any, dropout_row, dropout_stride);
      key += num;
    }
    block.write(HeadRows(out_BTHD, b, h), first, lse == nullptr ? nullptr : lse + head * num_queries);
  });
}

TRIREME_END_ISA
