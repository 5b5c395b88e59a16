// Attention with a lane for each query: scores are computed transposed, so that the softmax over keys runs
// down the rows of a block, keys and values are read where they are, and no width of head is odd.
#include <cmath>

#include "kernels/attention.h"
#include "kernels/attention_check.h"
#include "kernels/cpu/attention_mask.h"
#include "kernels/cpu/attention_short.h"
#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/head_rows.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tile.h"

TRIREME_BEGIN_ISA

namespace {

constexpr std::int64_t kQueries = kTileWidth;  // of a block
constexpr std::int64_t kKeys = 64;             // of a block at most

// What the blocks of one head share.
struct Head {
  HeadRows q, k, v, out;
  SequenceMask mask;
  float* lse;                   // [T], or nullptr
  float slope;                  // of ALiBi, in units of log 2
  const DropoutMask* dropout;   // or nullptr
  std::int64_t dropout_row;     // index of the first query's first probability
  std::int64_t dropout_stride;  // from one query's to the next
};

// The online softmax of one block of queries of one head.
class QueryBlock {
 public:
  static std::int64_t scratch_size(std::int64_t width) { return (2 * width + 2 * kKeys) * kQueries; }

  // Queries [first, first + count).  `scratch` has room for scratch_size(width).
  QueryBlock(float* scratch, const Head& head, std::int64_t first, std::int64_t count, std::int64_t width,
             float scale)
      : head_(head),
        width_(width),
        first_(first),
        count_(count),
        vecs_((count + kLanes - 1) / kLanes),
        q_(scratch),
        out_(q_ + width * kQueries),
        scores_(out_ + width * kQueries),
        factors_(scores_ + kKeys * kQueries) {
    // Scores in units of log 2, so that exponentials are powers of two.
    transpose_rows(q_, kQueries, head.q, first, count, width, scale * kLog2E);
    std::memset(out_, 0, static_cast<std::size_t>(width * kQueries) * sizeof(float));
    for (std::int64_t i = 0; i < kQueries; ++i) {
      // Lanes without a query see what the last one sees.
      const std::int64_t t = first + (i < count ? i : count - 1);
      begins_[i] = head.mask.begins[t];
      ends_[i] = head.mask.ends[t];
      largest_[i] = -__builtin_inff();
      sum_[i] = 0.0F;
    }
  }

  void add_all_keys() {
    // What all of the queries see.
    const std::int64_t all_begin = begins_[count_ - 1];
    const std::int64_t all_end = ends_[0];
    const std::int64_t end = ends_[count_ - 1];
    std::int64_t key = begins_[0];
    while (key < end) {
      std::int64_t num = end - key < kKeys ? end - key : kKeys;
      // What some don't see comes in small blocks, of which vectors of queries are left out.
      if ((key < all_begin || key + num > all_end) && num > kLanes) num = kLanes;
      add_keys(key, num);
      key += num;
    }
  }

  // Once all keys are in.
  void write() {
    for (std::int64_t lane = 0; lane < vecs_ * kLanes; lane += kLanes) {
      // Who sees nothing gets nothing.
      const Vec inverse = index(begins_ + lane) < index(ends_ + lane) ? 1.0F / load(sum_ + lane) : Vec{};
      for (std::int64_t d = 0; d < width_; ++d) {
        store(out_ + d * kQueries + lane, load(out_ + d * kQueries + lane) * inverse);
      }
    }
    transpose<kLanes>(head_.out.at(first_), head_.out.stride, out_, kQueries, width_, count_);
    if (head_.lse == nullptr) return;
    for (std::int64_t i = 0; i < count_; ++i) {
      head_.lse[first_ + i] = (largest_[i] + std::log2(sum_[i])) * kLn2;
    }
  }

 private:
  typedef std::int32_t IndexVec __attribute__((vector_size(kLanes * sizeof(float)), may_alias));
  static IndexVec index(const std::int32_t* p) { return *reinterpret_cast<const IndexVec*>(p); }

  // Takes in keys [first, first + count).
  void add_keys(std::int64_t first, std::int64_t count) {
    std::int64_t begin_vec = 0;
    std::int64_t end_vec = vecs_;
    while (begin_vec < end_vec && ends_[begin_vec * kLanes + kLanes - 1] <= first) ++begin_vec;
    while (begin_vec < end_vec && begins_[(end_vec - 1) * kLanes] >= first + count) --end_vec;
    if (begin_vec == end_vec) return;
    const std::int64_t vecs = end_vec - begin_vec;
    const std::int64_t lane = begin_vec * kLanes;
    multiply({scores_ + lane, kQueries}, {head_.k.at(first), head_.k.stride, 1}, {q_ + lane, kQueries}, count,
             vecs, width_, false);
    if (head_.dropout != nullptr) draw_factors(first, count, lane, end_vec * kLanes);
    for (std::int64_t i = lane; i < end_vec * kLanes; i += kLanes) {
      if (head_.slope != 0.0F) add_bias(first, count, i);
      if (first < begins_[i + kLanes - 1] || first + count > ends_[i]) hide(first, count, i);
      update_softmax(count, i);
    }
    multiply({out_ + lane, kQueries}, {head_.v.at(first), 1, head_.v.stride}, {scores_ + lane, kQueries},
             width_, vecs, count, true);
  }

  void draw_factors(std::int64_t first, std::int64_t count, std::int64_t begin_lane, std::int64_t end_lane) {
    alignas(64) float row[kKeys];
    for (std::int64_t i = begin_lane; i < end_lane && i < count_; ++i) {
      head_.dropout->draw(row, head_.dropout_row + (first_ + i) * head_.dropout_stride + first, count);
      for (std::int64_t j = 0; j < count; ++j) factors_[j * kQueries + i] = row[j];
    }
  }

  // The scores of one vector of queries.
  void add_bias(std::int64_t first, std::int64_t count, std::int64_t lane) {
    Vec distance;  // of the queries to the key
    for (int i = 0; i < kLanes; ++i) {
      distance[i] = static_cast<float>(first_ + lane + i + head_.mask.shift - first);
    }
    float* score = scores_ + lane;
    for (std::int64_t j = 0; j < count; ++j, score += kQueries, distance -= 1.0F) {
      store(score, load(score) - head_.slope * max(distance, -distance));
    }
  }

  // Takes from one vector of queries the scores of keys that they don't see.
  void hide(std::int64_t first, std::int64_t count, std::int64_t lane) {
    const IndexVec begins = index(begins_ + lane);
    const IndexVec ends = index(ends_ + lane);
    IndexVec key = IndexVec{} + static_cast<std::int32_t>(first);
    float* score = scores_ + lane;
    for (std::int64_t j = 0; j < count; ++j, score += kQueries, key += 1) {
      const Vec hidden = Vec{} - __builtin_inff();
      const Vec from_begin = key >= begins ? load(score) : hidden;
      store(score, key < ends ? from_begin : hidden);
    }
  }

  // Turns one vector of queries' scores into probabilities relative to the largest score so far, and scales
  // down what was summed under a smaller one.
  void update_softmax(std::int64_t count, std::int64_t lane) {
    float* const column = scores_ + lane;
    const Vec old = load(largest_ + lane);
    Vec largest = old;
    for (std::int64_t j = 0; j < count; ++j) largest = max(load(column + j * kQueries), largest);
    store(largest_ + lane, largest);
    // Who has seen nothing so far has a largest score of -Inf, and -Inf - -Inf is NaN.
    largest = largest == -__builtin_inff() ? Vec{} : largest;
    const Vec correction = exp2_nonpositive(old - largest);
    Vec sum = load(sum_ + lane) * correction;
    const bool dropped = head_.dropout != nullptr;
    const float* const factors = factors_ + lane;
    for (std::int64_t j = 0; j < count; ++j) {
      const Vec p = exp2_nonpositive(load(column + j * kQueries) - largest);
      sum += p;
      store(column + j * kQueries, dropped ? p * load(factors + j * kQueries) : p);
    }
    store(sum_ + lane, sum);
    for (std::int64_t d = 0; d < width_; ++d) {
      float* const out = out_ + d * kQueries + lane;
      store(out, load(out) * correction);
    }
  }

  const Head& head_;
  std::int64_t width_;
  std::int64_t first_;
  std::int64_t count_;
  std::int64_t vecs_;  // that hold the queries
  float* q_;           // [D, kQueries], times scale / log 2
  float* out_;         // [D, kQueries], not yet divided by sum_
  float* scores_;      // [kKeys, kQueries]
  float* factors_;     // [kKeys, kQueries], of dropout
  alignas(64) std::int32_t begins_[kQueries];
  alignas(64) std::int32_t ends_[kQueries];
  alignas(64) float largest_[kQueries];
  alignas(64) float sum_[kQueries];
};

}  // namespace

void attention_forward(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                       const AttentionOptions& options, Stream) {
  const std::int64_t batch = q_BTHD.dim(0);
  const std::int64_t num_queries = q_BTHD.dim(1);
  const std::int64_t num_heads = q_BTHD.dim(2);
  const std::int64_t width = q_BTHD.dim(3);
  const std::int64_t num_keys = k_BSKD.dim(1);
  const std::int64_t heads_per_kv = num_heads / k_BSKD.dim(2);
  const std::int64_t num_blocks = (num_queries + kQueries - 1) / kQueries;
  float* const lse = lse_BHT ? lse_BHT.data<float>() : nullptr;
  const float* const slopes = options.alibi_slopes_H ? options.alibi_slopes_H.data<float>() : nullptr;
  const AttentionMask mask(scratch_of_op(AttentionMask::scratch_size(options, batch, num_queries)), options,
                           batch, num_queries, num_keys);
  if (num_queries <= kShortQueries) {
    attention_forward_short(out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options, mask);
    return;
  }
  const DropoutMask dropout(options.dropout);
  const std::int64_t num_masks = mask_heads(options, num_heads);

  parallel_for(batch * num_heads * num_blocks, 1, [&](std::int64_t item, std::int64_t) {
    const std::int64_t index = item / num_blocks;  // of the head, of all sequences
    const std::int64_t b = index / num_heads;
    const std::int64_t h = index % num_heads;
    const Head head{.q = HeadRows(q_BTHD, b, h),
                    .k = HeadRows(k_BSKD, b, h / heads_per_kv),
                    .v = HeadRows(v_BSKD, b, h / heads_per_kv),
                    .out = HeadRows(out_BTHD, b, h),
                    .mask = mask.sequence(b),
                    .lse = lse == nullptr ? nullptr : lse + index * num_queries,
                    .slope = slopes == nullptr ? 0.0F : slopes[h] * kLog2E,
                    .dropout = options.dropout ? &dropout : nullptr,
                    .dropout_row = (b * num_masks + options.first_head + h) *
                                   attention_mask_size(1, num_queries, num_keys),
                    .dropout_stride = attention_mask_size(1, 1, num_keys)};
    // The last queries see most keys: they come first.
    const std::int64_t first = (num_blocks - 1 - item % num_blocks) * kQueries;
    const std::int64_t count = first + kQueries < num_queries ? kQueries : num_queries - first;
    QueryBlock block(scratch_of_thread(QueryBlock::scratch_size(width)), head, first, count, width,
                     options.scale);
    block.add_all_keys();
    block.write();
  });
}

TRIREME_END_ISA
