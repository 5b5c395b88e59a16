// A rank's parameters and their gradients in flat memory.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "kernels/buffer.h"
#include "kernels/tensor.h"
#include "parallel/parameter_part.h"

namespace trireme {

// How a parameter's first values are drawn: all alike, or from a normal distribution around 0.
struct Initializer {
  float mean = 0.0F;
  float stddev = 0.0F;

  static Initializer constant(float value) { return {.mean = value}; }
  static Initializer normal(float stddev) { return {.stddev = stddev}; }
};

struct Parameter {
  std::string name;  // unique in the model: "blocks.3.attention.qkv.weight"
  ParameterPart part;
  Shape shape;  // of the part
  Initializer initializer;
  bool weight_decay = false;  // matrices decay, biases and norms don't
  int index = 0;              // position in the buffer's order
  std::int64_t offset = 0;    // first element in the flat buffers, a multiple of 16
  Tensor value;               // set by allocate()
  Tensor gradient;
  std::vector<Replica> replicas;
};

// What of a model's parameters is in memory: to look at their names and places, to use them, to train them.
enum class ParameterMemory { kNone, kValues, kValuesAndGradients };

// Layers add their parameters in the order of the forward pass; backward completes gradients in the opposite
// order, so buckets are cut from the end.  A parameter used twice is added where backward touches it last.
class ParameterBuffer {
 public:
  // The reference stays valid.  REQUIRES: before allocate(); a name not used before.
  Parameter& add(std::string name, Shape shape, Initializer initializer, bool weight_decay);
  Parameter& add(std::string name, ParameterPart part, Initializer initializer, bool weight_decay);

  // Says that other ranks have elements of a parameter of this buffer, too.
  void add_replica(const Parameter& parameter, const Replica& replica);

  // Makes the flat buffers; gradients are zero, values unset.
  void allocate(ParameterMemory memory = ParameterMemory::kValuesAndGradients, Device device = {});
  // Draws every value by (seed, name, index within the whole parameter), so any layout of ranks draws the
  // same.
  void initialize(std::uint64_t seed);

  const std::deque<Parameter>& parameters() const { return parameters_; }
  // Ranges of the flat buffers which together are all but what ranks before this one in a group of replicas
  // own; gaps may be in them.
  std::vector<FlatRange> owned_ranges() const;

  // The whole flat buffers, alignment gaps (always zero) included; one dimension.
  Tensor values() const { return values_; }
  Tensor gradients() const { return gradients_; }
  std::int64_t num_elements() const { return num_elements_; }      // with gaps
  std::int64_t num_parameters() const { return num_parameters_; }  // without

 private:
  std::deque<Parameter> parameters_;
  std::int64_t num_elements_ = 0;
  std::int64_t num_parameters_ = 0;
  Buffer value_memory_;
  Buffer gradient_memory_;
  Tensor values_;
  Tensor gradients_;
};

}  // namespace trireme
