#include "trainer/model/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace trireme {
namespace {

constexpr double kTurn = 2.0 * std::numbers::pi;

// `share` of the frequency as it is, and of the stretched one what is missing.
double mean(double frequency, double share, const TransformerOptions& options) {
  return frequency * (share + (1.0 - share) / options.rope_factor);
}

double llama3(double frequency, const TransformerOptions& options) {
  const double turns = static_cast<double>(options.rope_original_context) * frequency / kTurn;
  const double low = options.rope_low_frequency_factor;
  const double high = options.rope_high_frequency_factor;
  return mean(frequency, std::clamp((turns - low) / (high - low), 0.0, 1.0), options);
}

// The number of the pair, not whole, that makes so many turns over the original context.
double pair_of_turns(double turns, const TransformerOptions& options) {
  const double wave_length = static_cast<double>(options.rope_original_context) / turns;
  return static_cast<double>(options.head_width) * std::log(wave_length / kTurn) /
         (2.0 * std::log(options.rope_theta));
}

double yarn(double frequency, double pair, const TransformerOptions& options) {
  const double begin = std::max(std::floor(pair_of_turns(options.rope_beta_fast, options)), 0.0);
  double end = std::min(std::ceil(pair_of_turns(options.rope_beta_slow, options)),
                        static_cast<double>(options.head_width - 1));
  if (begin == end) end += 0.001;
  return mean(frequency, 1.0 - std::clamp((pair - begin) / (end - begin), 0.0, 1.0), options);
}

double amplitude(const TransformerOptions& options) {
  if (options.rope_scaling != RopeScaling::kYarn) return 1.0;
  if (options.rope_attention_factor > 0.0) return options.rope_attention_factor;
  return 0.1 * std::log(options.rope_factor) + 1.0;
}

}  // namespace

RopeFrequencies rope_frequencies(const TransformerOptions& options) {
  RopeFrequencies result{.radians = {}, .amplitude = amplitude(options)};
  const auto pairs = static_cast<double>(options.head_width / 2);
  for (double pair = 0.0; pair < pairs; ++pair) {
    const double frequency = std::pow(options.rope_theta, -pair / pairs);
    switch (options.rope_scaling) {
      case RopeScaling::kNone:
        result.radians.push_back(frequency);
        break;
      case RopeScaling::kLinear:
        result.radians.push_back(mean(frequency, 0.0, options));
        break;
      case RopeScaling::kLlama3:
        result.radians.push_back(llama3(frequency, options));
        break;
      case RopeScaling::kYarn:
        result.radians.push_back(yarn(frequency, pair, options));
        break;
    }
  }
  return result;
}

}  // namespace trireme
