// A lane for each key.  The scores of a query are one row, so what it doesn't see is left out, not masked.
// Query heads that share keys and values go over them together.
#include "kernels/cpu/attention_short.h"

#include <cmath>

#include "kernels/attention_check.h"
#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/head_rows.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/tile.h"

TRIREME_BEGIN_ISA

namespace {

constexpr std::int64_t kKeys = 64;  // of a block: keys and values of the usual widths lie in the first cache
constexpr std::int64_t kMostQueries = 4;  // that go over keys and values together

// Lane i of the result is the sum of rows[i]'s lanes.
template <int kDistance = kLanes / 2>
TRIREME_INLINE Vec add_lanes(Vec (&rows)[kLanes]) {
  if constexpr (kDistance == 0) {
    return rows[0];
  } else {
    BlockVec<kLanes>::Mask left{};
    BlockVec<kLanes>::Mask right{};
    for (int i = 0; i < kLanes; ++i) {
      left[i] = (i & kDistance) != 0 ? kLanes + i - kDistance : i;
      right[i] = (i & kDistance) != 0 ? kLanes + i : i + kDistance;
    }
    for (int i = 0; i < kDistance; ++i) {
      rows[i] = __builtin_shuffle(rows[i], rows[i + kDistance], left) +
                __builtin_shuffle(rows[i], rows[i + kDistance], right);
    }
    return add_lanes<kDistance / 2>(rows);
  }
}

// Lane i < count of the result is the dot product of q with row first + i; the other lanes repeat the last.
TRIREME_INLINE Vec dot_products(const float* q, const HeadRows& k, std::int64_t first, std::int64_t count,
                                std::int64_t width) {
  const float* rows[kLanes];
  for (int i = 0; i < kLanes; ++i) rows[i] = k.at(first + (i < count ? i : count - 1));
  Vec sums[kLanes] = {};
  std::int64_t d = 0;
  for (; d + kLanes <= width; d += kLanes) {
    const Vec x = load(q + d);
    for (int i = 0; i < kLanes; ++i) sums[i] += x * load(rows[i] + d);
  }
  Vec result = add_lanes(sums);
  for (; d < width; ++d) {
    Vec column;
    for (int i = 0; i < kLanes; ++i) column[i] = rows[i][d];
    result += q[d] * column;
  }
  return result;
}

// One query of one head.
struct Query {
  const float* q;
  float* out;
  float* lse;                // or nullptr
  std::int64_t begin, end;   // the keys that it sees
  std::int64_t position;     // of the key that it stands at
  std::int64_t dropout_row;  // index of its first probability
  float slope;               // of ALiBi, in units of log 2
};

// The online softmax of some queries of heads that share a head of keys and values.
class QueryGroup {
 public:
  static std::int64_t scratch_size(std::int64_t width) { return kMostQueries * (2 * width + kRow) + kRow; }

  // `scratch` has room for scratch_size().
  QueryGroup(float* scratch, std::int64_t width, const HeadRows& k, const HeadRows& v,
             const DropoutMask* dropout)
      : width_(width),
        k_(k),
        v_(v),
        dropout_(dropout),
        q_(scratch),
        out_(q_ + kMostQueries * width),
        p_(out_ + kMostQueries * width),
        factors_(p_ + kMostQueries * kRow) {}

  // REQUIRES: fewer than kMostQueries so far.
  void add_query(const Query& query, float scale) {
    for (std::int64_t d = 0; d < width_; ++d) {
      // Scores in units of log 2, so that exponentials are powers of two.
      q_[count_ * width_ + d] = query.q[d] * (scale * kLog2E);
      out_[count_ * width_ + d] = 0.0F;
    }
    queries_[count_] = query;
    largest_[count_] = -__builtin_inff();
    sum_[count_] = 0.0F;
    ++count_;
  }

  void add_all_keys() {
    std::int64_t begin = queries_[0].begin;
    std::int64_t end = queries_[0].end;
    for (std::int64_t i = 1; i < count_; ++i) {
      begin = queries_[i].begin < begin ? queries_[i].begin : begin;
      end = queries_[i].end > end ? queries_[i].end : end;
    }
    for (std::int64_t key = begin; key < end; key += kKeys) {
      add_keys(key, end - key < kKeys ? end - key : kKeys);
    }
  }

  // Once all keys are in.
  void write() const {
    for (std::int64_t i = 0; i < count_; ++i) {
      const Query& query = queries_[i];
      // Who sees nothing gets nothing.
      const float inverse = query.begin < query.end ? 1.0F / sum_[i] : 0.0F;
      for (std::int64_t d = 0; d < width_; ++d) query.out[d] = out_[i * width_ + d] * inverse;
      if (query.lse != nullptr) *query.lse = (largest_[i] + std::log2(sum_[i])) * kLn2;
    }
  }

 private:
  // Takes in keys [first, first + num).
  void add_keys(std::int64_t first, std::int64_t num) {
    for (std::int64_t i = 0; i < count_; ++i) find_probabilities(i, first, num);
    const std::int64_t vecs = width_ / kLanes;
    multiply({out_, width_}, {p_, kRow, 1}, {v_.at(first), v_.stride}, count_, vecs, num, true);
    for (std::int64_t i = 0; i < count_; ++i) {
      for (std::int64_t d = vecs * kLanes; d < width_; ++d) {
        for (std::int64_t j = 0; j < num; ++j) {
          out_[i * width_ + d] += p_[i * kRow + j] * v_.at(first + j)[d];
        }
      }
    }
  }

  // Leaves query i's probabilities, relative to its largest score so far, in its row of p_.
  void find_probabilities(std::int64_t i, std::int64_t first, std::int64_t num) {
    float* const p = p_ + i * kRow;
    const Query& query = queries_[i];
    const std::int64_t begin = query.begin > first ? query.begin : first;
    const std::int64_t end = query.end < first + num ? query.end : first + num;
    if (begin >= end) {
      std::memset(p, 0, kRow * sizeof(float));
      return;
    }
    for (std::int64_t j = 0; j < kRow; j += kLanes) store(p + j, Vec{} - __builtin_inff());
    Vec largest = Vec{} + largest_[i];
    for (std::int64_t key = begin; key < end; key += kLanes) {
      const Vec score = scores(i, key, end - key < kLanes ? end - key : kLanes);
      largest = max(score, largest);
      store(p + key - first, score);
    }
    const float old = largest_[i];
    for (int lane = 0; lane < kLanes; ++lane) {
      largest_[i] = largest[lane] > largest_[i] ? largest[lane] : largest_[i];
    }
    const float correction = exp2_nonpositive(Vec{} + (old - largest_[i]))[0];
    for (std::int64_t d = 0; d < width_; ++d) out_[i * width_ + d] *= correction;
    if (dropout_ != nullptr) dropout_->draw(factors_, query.dropout_row + first, num);
    Vec sum{};
    for (std::int64_t j = 0; j < num; j += kLanes) {
      const Vec probability = exp2_nonpositive(load(p + j) - largest_[i]);
      sum += probability;
      store(p + j, dropout_ != nullptr ? probability * load(factors_ + j) : probability);
    }
    sum_[i] *= correction;
    for (int lane = 0; lane < kLanes; ++lane) sum_[i] += sum[lane];
  }

  // Of query i and keys [first, first + num); -Inf in the other lanes.
  Vec scores(std::int64_t i, std::int64_t first, std::int64_t num) const {
    Vec lane;
    for (int j = 0; j < kLanes; ++j) lane[j] = static_cast<float>(j);
    Vec score = dot_products(q_ + i * width_, k_, first, num, width_);
    if (queries_[i].slope != 0.0F) {
      const Vec distance = static_cast<float>(queries_[i].position - first) - lane;
      score -= queries_[i].slope * max(distance, -distance);
    }
    return lane < static_cast<float>(num) ? score : Vec{} - __builtin_inff();
  }

  // Room for a block of probabilities, and for a vector that begins in it.
  static constexpr std::int64_t kRow = kKeys + kLanes;

  std::int64_t width_;
  HeadRows k_;
  HeadRows v_;
  const DropoutMask* dropout_;  // or nullptr
  float* q_;                    // [kMostQueries, D], times scale / log 2
  float* out_;                  // [kMostQueries, D], not yet divided by sum_
  float* p_;                    // [kMostQueries, kRow]
  float* factors_;              // [kRow], of dropout
  std::int64_t count_ = 0;
  Query queries_[kMostQueries];
  float largest_[kMostQueries];
  float sum_[kMostQueries];
};

}  // namespace

void attention_forward_short(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                             const AttentionOptions& options, const AttentionMask& mask) {
  const std::int64_t length = q_BTHD.dim(1);
  const std::int64_t num_heads = q_BTHD.dim(2);
  const std::int64_t width = q_BTHD.dim(3);
  const std::int64_t num_kv_heads = k_BSKD.dim(2);
  const std::int64_t heads_per_kv = num_heads / num_kv_heads;
  const std::int64_t num_sharing = heads_per_kv * length;
  const std::int64_t num_groups = (num_sharing + kMostQueries - 1) / kMostQueries;
  float* const lse = lse_BHT ? lse_BHT.data<float>() : nullptr;
  const float* const slopes = options.alibi_slopes_H ? options.alibi_slopes_H.data<float>() : nullptr;
  const DropoutMask dropout(options.dropout);
  const std::int64_t num_masks = mask_heads(options, num_heads);

  parallel_for(q_BTHD.dim(0) * num_kv_heads * num_groups, 1, [&](std::int64_t item, std::int64_t) {
    const std::int64_t b = item / num_groups / num_kv_heads;
    const std::int64_t kv = item / num_groups % num_kv_heads;
    const std::int64_t first = item % num_groups * kMostQueries;
    const SequenceMask seen = mask.sequence(b);
    QueryGroup group(scratch_of_thread(QueryGroup::scratch_size(width)), width, HeadRows(k_BSKD, b, kv),
                     HeadRows(v_BSKD, b, kv), options.dropout ? &dropout : nullptr);
    for (std::int64_t i = first; i < first + kMostQueries && i < num_sharing; ++i) {
      const std::int64_t h = kv * heads_per_kv + i / length;
      const std::int64_t t = i % length;
      const std::int64_t row = (b * num_heads + h) * length + t;  // of [B, H, T]
      const std::int64_t mask_row = (b * num_masks + options.first_head + h) * length + t;
      group.add_query({.q = HeadRows(q_BTHD, b, h).at(t),
                       .out = HeadRows(out_BTHD, b, h).at(t),
                       .lse = lse == nullptr ? nullptr : lse + row,
                       .begin = seen.begins[t],
                       .end = seen.ends[t],
                       .position = t + seen.shift,
                       .dropout_row = mask_row * attention_mask_size(1, 1, k_BSKD.dim(1)),
                       .slope = slopes == nullptr ? 0.0F : slopes[h] * kLog2E},
                      options.scale);
    }
    group.add_all_keys();
    group.write();
  });
}

TRIREME_END_ISA
