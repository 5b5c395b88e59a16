// Positions that decide by themselves how often the blocks of a looped stack are applied to them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/arena.h"
#include "parallel/gradient_reducer.h"
#include "parallel/parameter_buffer.h"
#include "trainer/model/pass.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

// How often blocks were applied to positions that count for the loss.
struct LoopCount {
  double loops = 0.0;
  double positions = 0.0;
};

// Adaptive computation time as in the Universal Transformer (Dehghani et al. 2019, section 2.2): from what
// enters a loop, p = sigmoid(w x + b) for each position, with b = 1 at first.  kernels/halting.h says what
// follows from it.  As in the paper's text, the state of a position that has halted is copied from loop to
// loop, where others go on attending to it.  As in Graves 2016, and other than in the paper's listing, a
// position leaves as the mean of its states by weights that add up to 1, also where the loops run out.
class Halting {
 public:
  Halting(ParameterBuffer& parameters, const std::string& prefix, const TransformerOptions& options);

  void allocate(Arena& arena, const PassLimits& limits);

  // Of the pass's loop: where what the blocks make belongs.
  Tensor state(const Pass& pass) const;
  // In each loop, in order from 0 on: before the blocks, what enters the loop is looked
  // at; after them the state is added to the mean, and is made what the next loop reads.
  void look(Tensor input_NC, const Pass& pass) const;
  void forward(Tensor mean_NC, const Pass& pass) const;
  // Of the pass, so that no further loop changes the mean.
  bool all_halted(const Pass& pass) const;

  // After the last loop of forward, and before backward, which adds the gradient of scale * (this sum):
  // loss[0] += the pass's ponder cost times (loops + remainder), summed over the positions whose `counted`
  // (int32) is not negative.  The pass's loop count gets their loops.
  void add_loss(Tensor loss_1, Tensor counted_N, float scale, const Pass& pass) const;

  // From the last loop that ran to the first.  `dstate` is on entry what the later loops gave, afterwards the
  // gradient of what the loop made; the blocks' backward stands between the two.
  void backward(Tensor dstate_NC, Tensor dmean_NC, const Pass& pass) const;
  // dinput += the halting unit's, and the gradient that passes by the loop where a position had halted.
  // `scratch` [N, C] is free again afterwards.
  void backward_input(Tensor dinput_NC, Tensor input_NC, Tensor scratch_NC, GradientReducer& reducer,
                      const Pass& pass) const;

 private:
  Tensor weight(const Pass& pass) const;

  std::int64_t num_loops_;
  float threshold_;
  std::int64_t width_;
  const Parameter& weight_;  // [1, C]
  const Parameter& bias_;    // [1]

  // By loop; without training loops share them, but for the state before, in turn.
  std::vector<Tensor> states_NC_;
  std::vector<Tensor> weights_N_;
  Tensor logit_N_;
  Tensor remainder_N_;
  Tensor loops_N_;
  Tensor dlogit_N_;
  Tensor dremainder_N_;
  Tensor dponder_N_;
  Tensor dprevious_NC_;
};

}  // namespace trireme
