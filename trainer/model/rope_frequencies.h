// The wave lengths of rotary positions, and how they are stretched for texts longer than a model was first
// trained on.
#pragma once

#include <vector>

#include "trainer/model/transformer_options.h"

namespace trireme {

struct RopeFrequencies {
  std::vector<double> radians;  // per position, of each pair of a head's numbers: D / 2, falling
  double amplitude = 1.0;       // of their sines and cosines
};

// Of positions `rope`: f = theta^(-2 i / D) for pair i (Su et al. 2021), or what the scaling makes of it,
// where s is the factor, L the original context, and n = f L / 2 pi the turns that the pair makes over it:
//
//     linear  f / s, as if positions lay s times closer together (Chen et al. 2023)
//     llama3  f / s where n is at most the low frequency factor, f where it is at least the high one, and
//             between them a mean of both, with weights linear in n (Llama 3.1)
//     yarn    f / s where n is at most beta_slow, f where it is at least beta_fast, and between them a
//             mean of both, with weights linear in i; the amplitude is rope_attention_factor, or
//             0.1 ln s + 1 (Peng et al. 2023)
//
// Equal to what `transformers` makes of a config's rope_scaling, up to the rounding of its float32; so the
// bounds of yarn lie at whole pairs.
RopeFrequencies rope_frequencies(const TransformerOptions& options);

}  // namespace trireme
