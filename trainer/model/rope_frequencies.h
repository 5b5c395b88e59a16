// The wave lengths of rotary positions, and how they are stretched for texts longer than a model was first
// trained on.
#pragma once

#include <vector>

#include "trainer/model/transformer_options.h"

namespace trireme {

struct RopeFrequencies {
  std::vector<double> radians;  // per position, of each pair of a head's numbers: D / 2, falling
  double amplitude = 1.0;       // of the sines and cosines
};

// Of positions `rope`, pair i of D / 2, with f_i = theta^(-2 i / D) (Su et al. 2021) and s = rope_factor:
//
//     none    f_i
//     linear  f_i / s, as if positions lay s times closer (Chen et al. 2023)
//     llama3  between both by the turns that a pair makes over the original context, f_i L / 2 pi: f_i / s up
//     to
//             the low frequency factor, f_i from the high one on, in between a mean with linear weights
//             (Llama 3.1)
//     yarn    between both by the number of the pair: f_i up to that which makes beta_fast turns over the
//             original context, f_i / s from that which makes beta_slow, in between a mean with linear
//             weights; and an amplitude, 0.1 ln s + 1 unless rope_attention_factor is given (Peng et al.
//             2023)
//
// Equal to what `transformers` makes of a config's `rope_scaling`, to the rounding of its float32.
RopeFrequencies rope_frequencies(const TransformerOptions& options);

}  // namespace trireme
