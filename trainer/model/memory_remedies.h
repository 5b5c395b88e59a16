// What a user can change about a config whose training does not fit into a device's memory; see
// kernels/memory_label.h.
#pragma once

namespace trireme {

inline constexpr const char* kFewerParameters =
    "set parallel.zero to 2 or 3, or raise parallel.tensor or parallel.pipeline; or take a smaller model";
inline constexpr const char* kFewerMoments = "set parallel.zero to 1 or more, which shares them";
inline constexpr const char* kFewerActivations =
    "lower train.microbatch_sequences (of pairs: train.microbatch_tokens), set train.recompute to selective "
    "or full, or raise parallel.tensor";
inline constexpr const char* kSmallerMessages = "lower parallel.bucket_mib";

}  // namespace trireme
