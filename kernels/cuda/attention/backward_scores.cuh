// The part that all bf16 backward kernels have in common: from q, k, v, dout to probabilities and to the
// gradients of scores.
#pragma once

#include "kernels/cuda/attention/backward_tile.cuh"
#include "kernels/cuda/attention/dropout.cuh"
#include "kernels/cuda/attention/mask.cuh"

namespace trireme::cuda {

// Blocks of one head, in shared memory.
struct BackwardOperands {
  const unsigned char *q, *dout, *k, *v;
  const float2* statistics;  // of the queries; see BackwardScratch
};

// Where a warp's 32 keys and 32 queries begin: in the tiles, and in the sequence.
struct ScoreCorner {
  int key, query;
  int first_key, first_query;
};

// The keys and queries of a thread's scores s[m][n][2 half + i].
class ScorePlaces {
 public:
  __device__ explicit ScorePlaces(const ScoreCorner& corner) {
    const int lane = this_lane();
    key_ = corner.first_key + lane / 4;
    query_ = corner.first_query + lane % 4 * 2;
  }
  __device__ int key(int m, int half) const { return key_ + 16 * m + 8 * half; }
  __device__ int query(int n, int i) const { return query_ + 8 * n + i; }

 private:
  int key_, query_;
};

// body(score, m, n, half, i) for each of a thread's scores.
template <typename Body>
__device__ void for_each_score(float (&s)[2][4][4], Body body) {
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) body(s[m][n][2 * half + i], m, n, half, i);
      }
    }
  }
}

// Adds ALiBi to scores that are still to be scaled.
__device__ inline void add_bias(float (&s)[2][4][4], const Mask& mask, const ScoreCorner& corner,
                                float scale) {
  const ScorePlaces places(corner);
  const float factor = __fdividef(1.0F, scale);  // a true division is a call, for which registers lack
  for_each_score(s, [&](float& score, int m, int n, int half, int i) {
    score = fmaf(mask.bias(places.query(n, i), places.key(m, half)), factor, score);
  });
}

// Makes the scores of pairs that don't see each other, or have no key, -infinity.
__device__ inline void hide(float (&s)[2][4][4], const Mask& mask, const ScoreCorner& corner, int num_queries,
                            int num_keys) {
  const ScorePlaces places(corner);
  for_each_score(s, [&](float& score, int m, int n, int half, int i) {
    const int query = places.query(n, i), key = places.key(m, half);
    const Range keys = mask.keys_of({query, query + 1});
    if (key < keys.begin || key >= keys.end) score = -INFINITY;
  });
  if (!mask.has_documents()) return;
  for_each_score(s, [&](float& score, int m, int n, int half, int i) {
    // The scores of those that are not there don't matter any more.
    const int query = min(places.query(n, i), num_queries - 1), key = min(places.key(m, half), num_keys - 1);
    if (mask.document_of_query(query) != mask.document_of_key(key)) score = -INFINITY;
  });
}

// Which of a thread's probabilities are kept.  The random bits of a query's four neighbouring keys belong to
// four threads, those with the same lane % 4 and lane / 16: each draws for 8 of the 32 pairs of a query and
// four keys, and tells the others.
class KeptScores {
 public:
  __device__ KeptScores(const ProbabilityDropout& dropout, const ScoreCorner& corner) {
    const ScorePlaces places(corner);
    const int lane = this_lane();
    const int group = corner.first_key / 4 + lane / 4 % 4 * 2 + lane / 16;
#pragma unroll 1
    for (int i = 0; i < 8; ++i) drawn_ |= dropout.kept(places.query(i / 2, i % 2), group) << 4 * i;
  }

  // One bit of each of the thread's keys 8 i + lane / 4, for every query n, i: that is bit 8 n + 4 i.
  __device__ void exchange(unsigned (&kept)[4]) const {
    const int lane = this_lane();
#pragma unroll
    for (int i = 0; i < 4; ++i) kept[i] = __shfl_sync(~0u, drawn_, (lane & ~12) | 4 * i) >> lane / 4 % 4;
  }

 private:
  unsigned drawn_ = 0;
};

// The warp's probabilities, after dropout but not scaled for it, and the gradients of its scores before the
// scale.
template <typename Tile, bool kDropout>
__device__ void recompute_scores(ScorePieces& probabilities, ScorePieces& dscores,
                                 const BackwardOperands& operands, const ScoreCorner& corner, bool is_masked,
                                 int b, int h, const AttentionParameters<Bfloat16>& p) {
  using Keys = Pieces<typename Tile::Keys, As::kLeft>;
  using Queries = Pieces<typename Tile::Queries, As::kRightTransposed>;
  // First, while registers are free.
  [[maybe_unused]] const auto drawn = [&] {
    if constexpr (kDropout)
      return KeptScores(ProbabilityDropout(p, b, h), corner);
    else
      return 0;
  }();

  float s[2][4][4];
  clear(s);
  multiply<Tile::kWidth, 16>(s, Keys(operands.k, corner.key, 0), Queries(operands.q, corner.query, 0));
  const Mask mask(p, b, h);
  if (mask.has_bias()) add_bias(s, mask, corner, p.scale);
  if (is_masked) hide(s, mask, corner, p.num_queries, p.num_keys);

  float dp[2][4][4];
  clear(dp);
  multiply<Tile::kWidth, 16>(dp, Keys(operands.v, corner.key, 0), Queries(operands.dout, corner.query, 0));

  [[maybe_unused]] unsigned kept[4];
  if constexpr (kDropout) drawn.exchange(kept);
  const float4* const statistics =
      reinterpret_cast<const float4*>(operands.statistics + corner.query) + this_lane() % 4;
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const float4 pair = statistics[4 * n];  // of two queries
    const float lse[2] = {pair.x, pair.z}, delta[2] = {pair.y, pair.w};
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float probability[2], dscore[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float x = exp2_fast(fmaf(s[m][n][2 * half + i], p.scale, -lse[i]));
          float gradient = dp[m][n][2 * half + i];
          probability[i] = x;
          if constexpr (kDropout) {
            const bool is_kept = (kept[2 * m + half] >> (8 * n + 4 * i) & 1) != 0;
            probability[i] = is_kept ? x : 0.0F;
            gradient = is_kept ? gradient * p.dropout_scale : 0.0F;
          }
          dscore[i] = x * (gradient - delta[i]);
        }
        probabilities.x[m][n][half] = pack(probability[0], probability[1]);
        dscores.x[m][n][half] = pack(dscore[0], dscore[1]);
      }
    }
  }
}

}  // namespace trireme::cuda
