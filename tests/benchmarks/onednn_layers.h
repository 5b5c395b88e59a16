// Layers of oneDNN, to measure ours against: float32, of `batch` sequences of `length` vectors of `width`
// numbers.
#pragma once

#include <cstdint>
#include <functional>

namespace trireme {

// Whether this build has oneDNN; without it the functions below return nothing callable.
bool has_onednn();
// For the layers made after it.
void use_one_onednn_thread();

// Each returns what runs the layer's forward pass once, and owns its memory.
// An LSTM, from the first vector to the last.
std::function<void()> onednn_lstm(std::int64_t batch, std::int64_t length, std::int64_t width);
// A convolution along the sequence, padded to its length.  REQUIRES: `kernel` is odd.
std::function<void()> onednn_convolution(std::int64_t batch, std::int64_t length, std::int64_t width,
                                         std::int64_t kernel);

}  // namespace trireme
