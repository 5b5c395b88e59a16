// A rank's parameters and their gradients in flat memory.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/paged_buffer.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"
#include "parallel/parameter_part.h"
#include "parallel/sharded_layout.h"

namespace trireme {

class ParameterGatherer;

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
  Tensor operand;             // what passes compute with: the value, or its copy in the type of passes
  Tensor gradient;
  std::vector<Replica> replicas;

  FlatRange elements() const { return {offset, offset + shape.num_elements()}; }  // in the flat buffers
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

  // Makes the flat buffers, all zero.  Values and gradients are float32; passes may compute in bfloat16, and
  // operands are a buffer of their own then.
  void allocate(ParameterMemory memory = ParameterMemory::kValuesAndGradients, Device device = {},
                DType of_passes = DType::kFloat32);
  DType type_of_operands() const { return of_passes_; }
  bool operands_are_values() const { return of_passes_ == DType::kFloat32; }
  // Brings operands of the range up to the values, after these have changed other than by the optimizer.
  // Nothing to do if they are these.
  void round_values(const FlatRange& range, Stream stream);
  // Makes them anew, padded as the layout asks, and in small pages if it has parts of whole ones.  Values and
  // operands are zero; gradients have memory when somebody acquires it.  REQUIRES: allocated with gradients.
  void shard(const ShardedLayout& layout);
  // For work given to `stream` from here on, memory of elements [begin, end) of the padded values or
  // operands, undefined until somebody writes them, or of the gradients, zero; in all what is there already
  // stays as it is.  On the CPU it comes by itself.
  void acquire_values(const FlatRange& range, Stream stream);
  void acquire_operands(const FlatRange& range, Stream stream);
  void acquire_gradients(const FlatRange& range, Stream stream);
  // Gives it back after the work given to `stream`, see PagedBuffer.  REQUIRES: whole pages, after shard().
  void release_values(const FlatRange& range, Stream stream);
  void release_operands(const FlatRange& range, Stream stream);
  void release_gradients(const FlatRange& range, Stream stream);
  // What all of them take of the memory at this moment.
  std::int64_t resident_bytes() const;

  // From here on operands are in memory only while somebody says that they are used, see ParametersInUse. The
  // gatherer, of these parameters, outlives their uses.
  void gather_by(ParameterGatherer* gatherer) { gatherer_ = gatherer; }
  // From the first to the last parameter whose name begins so; empty if there is none.
  FlatRange range_of(std::string_view name_prefix) const;

  // Draws every value by (seed, name, index within the whole parameter), so any layout of ranks draws the
  // same.
  void initialize(std::uint64_t seed, Stream stream = {});

  const std::deque<Parameter>& parameters() const { return parameters_; }
  // The whole flat buffers, alignment gaps (always zero) included; one dimension.
  Tensor values() const { return values_; }
  Tensor gradients() const { return gradients_; }
  // The same with the padding of shard().
  Tensor padded_values() const { return padded_values_; }
  Tensor padded_operands() const { return operands_are_values() ? padded_values_ : padded_operands_; }
  Tensor padded_gradients() const { return padded_gradients_; }
  std::int64_t num_elements() const { return num_elements_; }      // with gaps
  std::int64_t num_parameters() const { return num_parameters_; }  // without

 private:
  friend class ParametersInUse;
  void map(std::int64_t padded_elements, ParameterMemory memory, Pages pages, Device device);

  std::deque<Parameter> parameters_;
  std::int64_t num_elements_ = 0;
  std::int64_t num_parameters_ = 0;
  ParameterGatherer* gatherer_ = nullptr;
  DType of_passes_ = DType::kFloat32;
  PagedBuffer value_memory_;
  PagedBuffer operand_memory_;  // where they are not the values
  PagedBuffer gradient_memory_;
  Tensor padded_values_;
  Tensor padded_operands_;  // so here
  Tensor padded_gradients_;
  Tensor values_;
  Tensor gradients_;
};

// While it lives, the operands of a range of the flat buffers, or of a parameter, may be read.  Costs nothing
// but where ranks share them.
class ParametersInUse {
 public:
  ParametersInUse(const ParameterBuffer& parameters, const FlatRange& range, Stream stream);
  ParametersInUse(const ParameterBuffer& parameters, const Parameter& parameter, Stream stream);
  ~ParametersInUse();
  ParametersInUse(const ParametersInUse&) = delete;
  ParametersInUse& operator=(const ParametersInUse&) = delete;

 private:
  ParameterGatherer* const gatherer_;
  const FlatRange range_;
};

}  // namespace trireme
