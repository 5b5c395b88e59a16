// One query after another: plain, as it is no part of a training step.
#include "kernels/attention_probabilities.h"

#include <cmath>
#include <cstring>

#include "kernels/cpu/attention_mask.h"
#include "kernels/cpu/head_rows.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"

TRIREME_BEGIN_ISA

namespace {

constexpr std::int64_t kQueries = 16;  // of a chunk

// What a query gives to the keys that it sees.
struct Row {
  std::int64_t begin, end;  // of the keys
  const float* weights;     // p times sum
  const float* scores;      // less the largest: log of the weights
  float sum;
};

// Which query of the call.
struct Place {
  std::int64_t b, h, t;
};

// Calls use(place, row) for every query.
template <typename Use>
void for_each_row(const Tensor& q_BTHD, const Tensor& k_BSKD, const AttentionOptions& options,
                  const Use& use) {
  const std::int64_t num_sequences = q_BTHD.dim(0), num_queries = q_BTHD.dim(1), heads = q_BTHD.dim(2);
  const std::int64_t width = q_BTHD.dim(3), num_keys = k_BSKD.dim(1);
  const std::int64_t heads_of_key = heads / k_BSKD.dim(2);
  const AttentionMask masks(scratch_of_op(AttentionMask::scratch_size(options, num_sequences, num_queries)),
                            options, num_sequences, num_queries, num_keys);
  const float* const slopes = options.alibi_slopes_H ? options.alibi_slopes_H.data<float>() : nullptr;
  const std::int64_t rows = num_sequences * heads * num_queries;
  parallel_for(rows, kQueries, [&](std::int64_t first, std::int64_t last) {
    float* const scores = scratch_of_thread(2 * num_keys);
    float* const weights = scores + num_keys;
    for (std::int64_t i = first; i < last; ++i) {
      const Place place{i / num_queries / heads, i / num_queries % heads, i % num_queries};
      const SequenceMask mask = masks.sequence(place.b);
      const std::int64_t begin = mask.begins[place.t];
      const std::int64_t count = mask.ends[place.t] > begin ? mask.ends[place.t] - begin : 0;
      const float* const q = HeadRows(q_BTHD, place.b, place.h).at(place.t);
      const HeadRows keys(k_BSKD, place.b, place.h / heads_of_key);
      float largest = -__builtin_inff();
      for (std::int64_t s = 0; s < count; ++s) {
        const float* const k = keys.at(begin + s);
        float dot = 0.0F;
#pragma omp simd reduction(+ : dot)
        for (std::int64_t d = 0; d < width; ++d) dot += q[d] * k[d];
        const std::int64_t distance = place.t + mask.shift - begin - s;
        const float bias =
            slopes != nullptr ? slopes[place.h] * std::fabs(static_cast<float>(distance)) : 0.0F;
        scores[s] = options.scale * dot - bias;
        largest = scores[s] > largest ? scores[s] : largest;
      }
      float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t s = 0; s < count; ++s) {
        scores[s] -= largest;
        weights[s] = exp(scores[s]);
        sum += weights[s];
      }
      use(place, Row{begin, begin + count, weights, scores, sum});
    }
  });
}

}  // namespace

void attention_probabilities(Tensor p_BHTS, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                             Stream) {
  const std::int64_t heads = p_BHTS.dim(1), num_queries = p_BHTS.dim(2), num_keys = p_BHTS.dim(3);
  for_each_row(q_BTHD, k_BSKD, options, [&](const Place& place, const Row& row) {
    float* const p = p_BHTS.data<float>() + ((place.b * heads + place.h) * num_queries + place.t) * num_keys;
    std::memset(p, 0, static_cast<std::size_t>(num_keys) * sizeof(float));
    for (std::int64_t s = row.begin; s < row.end; ++s) p[s] = row.weights[s - row.begin] / row.sum;
  });
}

// log p = score - log sum, so that the entropy is log sum - sum of p score: no logarithm of each p.
void attention_entropy(Tensor entropy_BHT, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                       Stream) {
  const std::int64_t heads = entropy_BHT.dim(1), num_queries = entropy_BHT.dim(2);
  for_each_row(q_BTHD, k_BSKD, options, [&](const Place& place, const Row& row) {
    float score = 0.0F;
    const std::int64_t count = row.end - row.begin;
#pragma omp simd reduction(+ : score)
    for (std::int64_t s = 0; s < count; ++s) score += row.weights[s] * row.scores[s];
    const float entropy = std::log(row.sum) - score / row.sum;
    entropy_BHT.data<float>()[(place.b * heads + place.h) * num_queries + place.t] =
        count <= 1 || entropy < 0.0F ? 0.0F : entropy;
  });
}

TRIREME_END_ISA
