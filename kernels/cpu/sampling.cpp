#include "kernels/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/place.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"
#include "kernels/rng.h"

TRIREME_BEGIN_ISA

// Tokens from the likeliest on, put in order only as far as they are asked for.
struct Likeliest {
  std::uint64_t* places;
  std::int64_t count;
  std::int64_t ordered = 0;

  std::int32_t operator[](std::int64_t i) {
    while (i >= ordered) {
      const std::int64_t end = std::min(count, std::max<std::int64_t>(64, 4 * ordered));
      if (end < count) std::nth_element(places + ordered, places + end, places + count, std::greater<>());
      std::sort(places + ordered, places + end, std::greater<>());
      ordered = end;
    }
    return token_at(places[i]);
  }
};

inline float largest_of(const float* row, std::int64_t width) {
  float largest = -__builtin_inff();
#pragma omp simd reduction(max : largest)
  for (std::int64_t v = 0; v < width; ++v) largest = row[v] > largest ? row[v] : largest;
  return largest;
}

inline std::int32_t first_of(float value, const float* row, std::int64_t width) {
  for (std::int64_t v = 0; v < width; ++v)
    if (row[v] == value) return static_cast<std::int32_t>(v);
  return 0;
}

// In units of 2^-38 of the largest.
inline void find_probabilities(std::int64_t* probabilities, const float* row, std::int64_t width,
                               float largest, float inverse_temperature) {
#pragma omp simd
  for (std::int64_t v = 0; v < width; ++v) {
    const float x = row[v] == largest ? 0.0F : (row[v] - largest) * inverse_temperature;
    probabilities[v] = x <= 0.0F ? static_cast<std::int64_t>(exp(x) * 0x1.0p38F) : 0;
  }
}

inline std::int32_t draw_of_row(const float* row, std::int64_t width, const SamplingOptions& options,
                                float uniform_number) {
  const float largest = largest_of(row, width);
  if (options.temperature <= 0.0) return first_of(largest, row, width);

  float* const scratch = scratch_of_thread(4 * width);
  auto* const probabilities = reinterpret_cast<std::int64_t*>(scratch);
  find_probabilities(probabilities, row, width, largest, static_cast<float>(1.0 / options.temperature));
  Likeliest likeliest{reinterpret_cast<std::uint64_t*>(scratch + 2 * width), width};
  for (std::int64_t v = 0; v < width; ++v) likeliest.places[v] = place_of(row[v], v);
  if (options.top_k > 0 && options.top_k < width) {
    std::nth_element(likeliest.places, likeliest.places + options.top_k, likeliest.places + width,
                     std::greater<>());
    likeliest.count = options.top_k;
  }
  std::int64_t sum = 0;
  if (likeliest.count == width) {
    for (std::int64_t v = 0; v < width; ++v) sum += probabilities[v];
  } else {
    for (std::int64_t i = 0; i < likeliest.count; ++i) sum += probabilities[token_at(likeliest.places[i])];
  }
  if (sum == 0) return 0;
  if (options.top_p < 1.0) {
    const auto reached =
        std::min(sum, static_cast<std::int64_t>(std::ceil(options.top_p * static_cast<double>(sum))));
    sum = 0;
    for (std::int64_t i = 0; sum == 0 || sum < reached; ++i) sum += probabilities[likeliest[i]];
  }
  auto left = static_cast<std::int64_t>(static_cast<double>(uniform_number) * static_cast<double>(sum));
  for (std::int64_t i = 0;; ++i) {
    const std::int32_t token = likeliest[i];
    left -= probabilities[token];
    if (left < 0) return token;
  }
}

void sample_tokens(Tensor tokens_N, Tensor logits_NV, const SamplingOptions& options, std::uint64_t draw,
                   Stream) {
  const float* const logits = logits_NV.data<float>();
  std::int32_t* const tokens = tokens_N.data<std::int32_t>();
  const std::int64_t stride = logits_NV.stride(0);
  const std::int64_t width = logits_NV.dim(1);
  parallel_for(logits_NV.dim(0), 1, [=, &options](std::int64_t n, std::int64_t) {
    const std::uint64_t number = draw + static_cast<std::uint64_t>(n);
    tokens[n] = draw_of_row(logits + n * stride, width, options, uniform(philox(options.seed, number)[0]));
  });
}

TRIREME_END_ISA
