// Looking on while attention attends.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "kernels/attention.h"

namespace trireme {

// Self-attention of an encoder or a decoder, or a decoder's attention to the encoder's output.
enum class AttentionKind : std::uint8_t { kEncoder, kDecoder, kCross };
inline constexpr std::size_t kNumAttentionKinds = 3;
inline constexpr std::array<std::string_view, kNumAttentionKinds> kAttentionKindNames = {"encoder", "decoder",
                                                                                         "cross"};

// A pass that is given one tells it of every attention that it computes, in that order: of one kind, the
// first layer's comes first, and a layer that is gone through several times comes as often.
class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;

  // Queries, keys and options are those of attention_forward, which runs afterwards; good during the call.
  virtual void observe(AttentionKind kind, Tensor q_BTHD, Tensor k_BSKD, const AttentionOptions& options,
                       Stream stream) = 0;
};

}  // namespace trireme
