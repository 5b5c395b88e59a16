// The gradient of attention, with a lane for each key.  A block of keys is one thread's: it walks over the
// queries that see it, so its dk and dv have one owner.  dq is summed over key blocks; where there are few
// heads their key blocks are dealt out to several owners, each with its own dq, which are added up at the
// end.
#include "kernels/attention.h"
#include "kernels/attention_check.h"
#include "kernels/cpu/attention_mask.h"
#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/head_rows.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tile.h"

TRIREME_BEGIN_ISA

namespace {

constexpr std::int64_t kKeys = kTileWidth;  // of a block
constexpr std::int64_t kQueries = 64;       // of a block at most
// Owners of key blocks that a call makes at least, if it has as many blocks: enough for many threads.
constexpr std::int64_t kOwners = 32;

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

void zero(float* p, std::int64_t count) {
  if (count > 0) std::memset(p, 0, static_cast<std::size_t>(count) * sizeof(float));
}

// What all blocks share.
struct Sizes {
  std::int64_t num_queries, num_keys, num_heads, num_kv_heads, width;
  std::int64_t padded_width;  // a multiple of kLanes
  std::int64_t num_splits;    // owners of one key/value head's blocks
  float scale;
  const DropoutMask* dropout;  // or nullptr
};

// `count` rows from `first` on that can be read to the padded width: where they are, or copied to `room`.
TileRight padded_rows(const HeadRows& rows, std::int64_t first, std::int64_t count, const Sizes& sizes,
                      float* room) {
  if (sizes.width == sizes.padded_width) return {rows.at(first), rows.stride};
  for (std::int64_t i = 0; i < count; ++i) {
    const float* const in = rows.at(first + i);
    float* const out = room + i * sizes.padded_width;
    for (std::int64_t d = 0; d < sizes.width; ++d) out[d] = in[d];
    for (std::int64_t d = sizes.width; d < sizes.padded_width; ++d) out[d] = 0.0F;
  }
  return {room, sizes.padded_width};
}

// One head's queries, and what is known of them.
struct QueryHead {
  HeadRows q;
  HeadRows dout;
  SequenceMask mask;
  const float* lse;          // [T]
  const float* delta;        // [T], the dot product of out and dout
  float* dq;                 // [T, padded width], this owner's, not yet times scale
  std::int64_t dropout_row;  // index of the head's first probability
  float slope;               // of ALiBi, in units of log 2
};

// dk and dv of one block of keys.
class KeyBlock {
 public:
  static std::int64_t scratch_size(const Sizes& sizes) {
    return 2 * sizes.width * kKeys + 3 * kKeys * sizes.padded_width + 2 * kQueries * sizes.padded_width +
           2 * kQueries * kKeys + kKeys;
  }

  KeyBlock(float* scratch, const Sizes& sizes, const HeadRows& k, const HeadRows& v, std::int64_t first,
           std::int64_t count)
      : sizes_(sizes),
        first_(first),
        count_(count),
        k_columns_(scratch),
        v_columns_(k_columns_ + sizes.width * kKeys),
        k_room_(v_columns_ + sizes.width * kKeys),
        dk_(k_room_ + kKeys * sizes.padded_width),
        dv_(dk_ + kKeys * sizes.padded_width),
        q_room_(dv_ + kKeys * sizes.padded_width),
        dout_room_(q_room_ + kQueries * sizes.padded_width),
        p_(dout_room_ + kQueries * sizes.padded_width),
        ds_(p_ + kQueries * kKeys),
        factors_(ds_ + kQueries * kKeys),
        k_rows_(padded_rows(k, first, count, sizes, k_room_)) {
    // Scores come out in units of log 2, so that exponentials are powers of two.
    transpose_rows(k_columns_, kKeys, k, first, count, sizes.width, sizes.scale * kLog2E);
    transpose_rows(v_columns_, kKeys, v, first, count, sizes.width, 1.0F);
    zero(dk_, kKeys * sizes.padded_width);
    zero(dv_, kKeys * sizes.padded_width);
  }

  // Adds what all queries of a head contribute, and to the head's dq.
  void add_head(const QueryHead& head) {
    const SequenceMask& mask = head.mask;
    const std::int64_t last = first_ + count_ - 1;
    std::int64_t t = mask.first_ending_after(first_);
    const std::int64_t end = mask.first_beginning_after(last);
    // The queries that see all of the keys.
    const std::int64_t all_begin = mask.first_ending_after(last);
    const std::int64_t all_end = mask.first_beginning_after(first_);
    while (t < end) {
      std::int64_t num = end - t < kQueries ? end - t : kQueries;
      // Those that see some come in small blocks, of which vectors of keys are left out.
      if ((t < all_begin || t + num > all_end) && num > kLanes) num = kLanes;
      add_queries(head, t, num);
      t += num;
    }
  }

  void write(const HeadRows& dk, const HeadRows& dv) const {
    for (std::int64_t j = 0; j < count_; ++j) {
      float* const dk_row = dk.at(first_ + j);
      float* const dv_row = dv.at(first_ + j);
      for (std::int64_t d = 0; d < sizes_.width; ++d) {
        dk_row[d] = dk_[j * sizes_.padded_width + d] * sizes_.scale;
        dv_row[d] = dv_[j * sizes_.padded_width + d];
      }
    }
  }

 private:
  // Of the block's keys, those that queries [first, first + num) see any of.
  struct Seen {
    std::int64_t begin, end;
    // The same in whole vectors.
    std::int64_t begin_lane() const { return begin / kLanes * kLanes; }
    std::int64_t end_lane() const { return divide_up(end, kLanes) * kLanes; }
  };

  void add_queries(const QueryHead& head, std::int64_t first, std::int64_t num) {
    Seen seen{head.mask.begins[first] - first_, head.mask.ends[first + num - 1] - first_};
    seen.begin = seen.begin > 0 ? seen.begin : 0;
    seen.end = seen.end < count_ ? seen.end : count_;
    if (seen.begin >= seen.end) return;
    const std::int64_t lane = seen.begin_lane();
    const std::int64_t vecs = (seen.end_lane() - lane) / kLanes;
    const std::int64_t num_seen = seen.end - seen.begin;
    const std::int64_t stride = sizes_.padded_width;
    const std::int64_t width_vecs = stride / kLanes;
    multiply({p_ + lane, kKeys}, {head.q.at(first), head.q.stride, 1}, {k_columns_ + lane, kKeys}, num, vecs,
             sizes_.width, false);
    multiply({ds_ + lane, kKeys}, {head.dout.at(first), head.dout.stride, 1}, {v_columns_ + lane, kKeys}, num,
             vecs, sizes_.width, false);
    for (std::int64_t i = 0; i < num; ++i) differentiate_softmax(head, first + i, i, seen);
    multiply({dv_ + seen.begin * stride, stride}, {p_ + seen.begin, 1, kKeys},
             padded_rows(head.dout, first, num, sizes_, dout_room_), num_seen, width_vecs, num, true);
    multiply({dk_ + seen.begin * stride, stride}, {ds_ + seen.begin, 1, kKeys},
             padded_rows(head.q, first, num, sizes_, q_room_), num_seen, width_vecs, num, true);
    multiply({head.dq + first * stride, stride}, {ds_ + seen.begin, kKeys, 1},
             {k_rows_.data + seen.begin * k_rows_.stride, k_rows_.stride}, num, width_vecs, num_seen, true);
  }

  // Query t, which is row i of the block.  From scores in p_ and the gradient of the (dropped) probabilities
  // in ds_: the dropped probabilities, and the gradient of the scores.
  void differentiate_softmax(const QueryHead& head, std::int64_t t, std::int64_t i, const Seen& seen) {
    float* const p = p_ + i * kKeys;
    float* const ds = ds_ + i * kKeys;
    const std::int64_t lane = seen.begin_lane();
    const std::int64_t end_lane = seen.end_lane();
    if (sizes_.dropout != nullptr) {
      const std::int64_t row = head.dropout_row + t * attention_mask_size(1, 1, sizes_.num_keys);
      sizes_.dropout->draw(factors_ + lane, row + first_ + lane, end_lane - lane);
    }
    if (head.slope != 0.0F) add_bias(p, t + head.mask.shift - first_, head.slope, seen);
    const float log_sum = head.lse[t] * kLog2E;
    const float delta = head.delta[t];
    for (std::int64_t v = lane; v < end_lane; v += kLanes) {
      const Vec probability = exp2_nonpositive(load(p + v) - log_sum);
      const Vec factor = sizes_.dropout == nullptr ? Vec{} + 1.0F : load(factors_ + v);
      store(p + v, probability * factor);
      store(ds + v, probability * (load(ds + v) * factor - delta));
    }
    // Nothing where the query doesn't see.
    const std::int64_t begin = head.mask.begins[t] - first_;
    const std::int64_t end = head.mask.ends[t] - first_;
    for (std::int64_t j = lane; j < begin && j < end_lane; ++j) p[j] = ds[j] = 0.0F;
    for (std::int64_t j = end > lane ? end : lane; j < end_lane; ++j) p[j] = ds[j] = 0.0F;
  }

  // `position` is the query's, from the block's first key on.
  static void add_bias(float* scores, std::int64_t position, float slope, const Seen& seen) {
    Vec distance;
    for (int i = 0; i < kLanes; ++i) {
      distance[i] = static_cast<float>(position - seen.begin_lane() - i);
    }
    for (std::int64_t j = seen.begin_lane(); j < seen.end_lane(); j += kLanes) {
      store(scores + j, load(scores + j) - slope * max(distance, -distance));
      distance -= static_cast<float>(kLanes);
    }
  }

  const Sizes& sizes_;
  std::int64_t first_;
  std::int64_t count_;
  float* k_columns_;  // [D, kKeys], times scale / log 2
  float* v_columns_;  // [D, kKeys]
  float* k_room_;     // [kKeys, padded width]
  float* dk_;         // the same, not yet times scale
  float* dv_;
  float* q_room_;  // [kQueries, padded width]
  float* dout_room_;
  float* p_;        // [kQueries, kKeys]
  float* ds_;       // the same
  float* factors_;  // [kKeys], of dropout
  TileRight k_rows_;
};

// delta[b, h, t] = the dot product of out and dout.
void find_delta(float* delta, const Tensor& dout_BTHD, const Tensor& out_BTHD) {
  const std::int64_t num_queries = out_BTHD.dim(1);
  const std::int64_t num_heads = out_BTHD.dim(2);
  const std::int64_t width = out_BTHD.dim(3);
  parallel_for(out_BTHD.dim(0) * num_heads * num_queries, 256, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t head = i / num_queries;
      const float* const a = HeadRows(out_BTHD, head / num_heads, head % num_heads).at(i % num_queries);
      const float* const b = HeadRows(dout_BTHD, head / num_heads, head % num_heads).at(i % num_queries);
      float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t d = 0; d < width; ++d) sum += a[d] * b[d];
      delta[i] = sum;
    }
  });
}

// dq = scale times the sum of the owners' parts [num_splits, B, H, T, padded width].
void write_dq(const Tensor& dq_BTHD, const float* parts, const Sizes& sizes) {
  const std::int64_t rows = dq_BTHD.dim(0) * sizes.num_heads * sizes.num_queries;
  parallel_for(rows, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t head = i / sizes.num_queries;
      float* const out =
          HeadRows(dq_BTHD, head / sizes.num_heads, head % sizes.num_heads).at(i % sizes.num_queries);
      for (std::int64_t d = 0; d < sizes.width; ++d) {
        float sum = 0.0F;
        for (std::int64_t s = 0; s < sizes.num_splits; ++s)
          sum += parts[(s * rows + i) * sizes.padded_width + d];
        out[d] = sum * sizes.scale;
      }
    }
  });
}

}  // namespace

void attention_backward(Tensor dq_BTHD, Tensor dk_BSKD, Tensor dv_BSKD, Tensor dout_BTHD, Tensor out_BTHD,
                        Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                        const AttentionOptions& options, Stream) {
  const std::int64_t batch = q_BTHD.dim(0);
  const DropoutMask dropout(options.dropout);
  Sizes sizes{};
  sizes.num_queries = q_BTHD.dim(1);
  sizes.num_keys = k_BSKD.dim(1);
  sizes.num_heads = q_BTHD.dim(2);
  sizes.num_kv_heads = k_BSKD.dim(2);
  sizes.width = q_BTHD.dim(3);
  sizes.padded_width = divide_up(sizes.width, kLanes) * kLanes;
  sizes.scale = options.scale;
  sizes.dropout = options.dropout ? &dropout : nullptr;
  const std::int64_t num_blocks = divide_up(sizes.num_keys, kKeys);
  const std::int64_t wanted = divide_up(kOwners, batch * sizes.num_kv_heads);
  sizes.num_splits = wanted < num_blocks ? wanted : num_blocks;

  const std::int64_t rows = batch * sizes.num_heads * sizes.num_queries;
  const std::int64_t heads_per_kv = sizes.num_heads / sizes.num_kv_heads;
  const std::int64_t num_masks = mask_heads(options, sizes.num_heads);
  const float* const lse = lse_BHT.data<float>();
  const float* const slopes = options.alibi_slopes_H ? options.alibi_slopes_H.data<float>() : nullptr;
  const std::int64_t delta_size = divide_up(rows, 16) * 16;
  const std::int64_t dq_size = sizes.num_splits * rows * sizes.padded_width;
  float* const delta =
      scratch_of_op(delta_size + dq_size + AttentionMask::scratch_size(options, batch, sizes.num_queries));
  float* const dq_parts = delta + delta_size;
  const AttentionMask mask(dq_parts + dq_size, options, batch, sizes.num_queries, sizes.num_keys);
  find_delta(delta, dout_BTHD, out_BTHD);

  parallel_for(batch * sizes.num_kv_heads * sizes.num_splits, 1, [&](std::int64_t item, std::int64_t) {
    const std::int64_t split = item % sizes.num_splits;
    const std::int64_t b = item / sizes.num_splits / sizes.num_kv_heads;
    const std::int64_t kv = item / sizes.num_splits % sizes.num_kv_heads;
    const HeadRows k(k_BSKD, b, kv);
    const HeadRows v(v_BSKD, b, kv);
    const std::int64_t first_head = b * sizes.num_heads + kv * heads_per_kv;
    float* const dq = dq_parts + split * rows * sizes.padded_width;
    const std::int64_t head_size = sizes.num_queries * sizes.padded_width;
    zero(dq + first_head * head_size, heads_per_kv * head_size);
    for (std::int64_t i = split; i < num_blocks; i += sizes.num_splits) {
      const std::int64_t first = i * kKeys;
      const std::int64_t count = first + kKeys < sizes.num_keys ? kKeys : sizes.num_keys - first;
      KeyBlock block(scratch_of_thread(KeyBlock::scratch_size(sizes)), sizes, k, v, first, count);
      for (std::int64_t head = first_head; head < first_head + heads_per_kv; ++head) {
        const std::int64_t h = head % sizes.num_heads;
        block.add_head({.q = HeadRows(q_BTHD, b, h),
                        .dout = HeadRows(dout_BTHD, b, h),
                        .mask = mask.sequence(b),
                        .lse = lse + head * sizes.num_queries,
                        .delta = delta + head * sizes.num_queries,
                        .dq = dq + head * head_size,
                        .dropout_row = (b * num_masks + options.first_head + h) *
                                       attention_mask_size(1, sizes.num_queries, sizes.num_keys),
                        .slope = slopes == nullptr ? 0.0F : slopes[h] * kLog2E});
      }
      block.write(HeadRows(dk_BSKD, b, kv), HeadRows(dv_BSKD, b, kv));
    }
  });
  write_dq(dq_BTHD, dq_parts, sizes);
}

TRIREME_END_ISA
