// Which layers each stage of a pipeline has.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace trireme {

struct LayerRange {
  int begin = 0;
  int end = 0;

  int size() const { return end - begin; }
  bool operator==(const LayerRange&) const = default;
};

// Says why the layers cannot be shared so and what would fit; nothing when they can.  Every part of a
// pipeline (of which a stage has one, or a chunk of each) has a layer or more.
std::optional<std::string> why_not_share(int num_layers, int num_parts);
std::optional<std::string> why_not_share(int num_layers, int num_parts, std::span<const int> counts);

// As many layers for each part as given.  REQUIRES: nothing against it.
std::vector<LayerRange> share_layers(std::span<const int> counts);
// Contiguous parts whose most expensive one is as cheap as can be; among those, the most even (least sum of
// squares), and then the fullest first.  costs: of each layer, not negative; what the first and last stage do
// besides, embedding and loss, is added to the first and last layer's.
std::vector<LayerRange> share_layers(std::span<const double> costs, int num_parts);

}  // namespace trireme
