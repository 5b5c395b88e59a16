// Text to train on in tests: made up, and the same each time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace trireme {

// `num_bytes` of lines of words, of which few are frequent and many are rare, as in a language.
inline std::string made_up_prose(std::size_t num_bytes, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::string> words;
  for (int i = 0; i < 20000; ++i) {
    std::string word;
    const std::size_t size = 2 + random() % 4 + random() % 5;
    for (std::size_t c = 0; c < size; ++c)
      word += "etaoinshrdlucmfwypvbgkjqxz"[random() % 13 * (random() % 2 + 1)];
    words.push_back(word);
  }
  std::string text;
  while (text.size() < num_bytes) {
    const double uniform = static_cast<double>(random() >> 11) * 0x1.0p-53;
    text += words[static_cast<std::size_t>(uniform * uniform * uniform * uniform * 20000)];
    const std::uint64_t draw = random() % 64;
    text += draw == 0 ? "\n" : draw < 4 ? ". " : draw < 8 ? ", " : " ";
  }
  text.resize(num_bytes);
  return text;
}

}  // namespace trireme
