#include "trainer/model/halting.h"

#include <algorithm>

#include "kernels/elementwise.h"
#include "kernels/halting.h"
#include "kernels/host_copy.h"
#include "kernels/linear.h"

namespace trireme {

Halting::Halting(ParameterBuffer& parameters, const std::string& prefix, const TransformerOptions& options)
    : num_loops_(options.loops),
      threshold_(options.halting_threshold),
      width_(options.width),
      weight_(parameters.add(prefix + "halting.weight", {1, width_}, Initializer::normal(options.init_stddev),
                             /*weight_decay=*/true)),
      bias_(parameters.add(prefix + "halting.bias", {1}, Initializer::constant(1.0F),
                           /*weight_decay=*/false)) {}

void Halting::allocate(Arena& arena, const PassLimits& limits) {
  const auto rows = [&] { return arena.allocate(DType::kFloat32, {limits.rows()}); };
  states_NC_.clear();
  weights_N_.clear();
  for (std::int64_t loop = 0; loop < num_loops_; ++loop) {
    const std::size_t before = states_NC_.size();
    const bool own = limits.training || loop < 2;
    states_NC_.push_back(own ? arena.allocate(limits.dtype, {limits.rows(), width_})
                             : states_NC_[before - 2]);
    weights_N_.push_back(own ? rows() : weights_N_.front());
  }
  logit_N_ = arena.allocate(limits.dtype, {limits.rows()});
  remainder_N_ = rows();
  loops_N_ = arena.allocate(DType::kInt32, {limits.rows()});
  dponder_N_ = rows();
  if (!limits.training) return;
  dlogit_N_ = arena.allocate(limits.dtype, {limits.rows()});
  dremainder_N_ = rows();
  dprevious_NC_ = arena.allocate(limits.dtype, {limits.rows(), width_});
}

Tensor Halting::state(const Pass& pass) const {
  return pass.rows_of(states_NC_[static_cast<std::size_t>(pass.loop)]);
}

Tensor Halting::weight(const Pass& pass) const {
  return pass.rows_of(weights_N_[static_cast<std::size_t>(pass.loop)]);
}

void Halting::look(Tensor input_NC, const Pass& pass) const {
  linear_forward(pass.rows_of(logit_N_).view({pass.rows(), 1}), input_NC, weight_.operand, bias_.operand,
                 pass.stream);
}

void Halting::forward(Tensor mean_NC, const Pass& pass) const {
  const Tensor previous =
      pass.loop > 0 ? pass.rows_of(states_NC_[static_cast<std::size_t>(pass.loop - 1)]) : Tensor();
  halting_forward(mean_NC, state(pass), weight(pass), pass.rows_of(remainder_N_), pass.rows_of(loops_N_),
                  previous, pass.rows_of(logit_N_),
                  {.loop = pass.loop, .num_loops = num_loops_, .threshold = threshold_}, pass.stream);
}

bool Halting::all_halted(const Pass& pass) const {
  const auto loops = host_copy<std::int32_t>(pass.rows_of(loops_N_), pass.stream);
  return std::all_of(loops.begin(), loops.end(), [](std::int32_t count) { return count > 0; });
}

void Halting::add_loss(Tensor loss_1, Tensor counted_N, float scale, const Pass& pass) const {
  ponder_loss(loss_1, pass.rows_of(dponder_N_), pass.rows_of(remainder_N_), pass.rows_of(loops_N_), counted_N,
              pass.ponder_cost, scale, pass.stream);
  if (pass.loop_count == nullptr) return;
  const auto loops = host_copy<std::int32_t>(pass.rows_of(loops_N_), pass.stream);
  const auto counted = host_copy<std::int32_t>(counted_N, pass.stream);
  for (std::size_t n = 0; n < loops.size(); ++n) {
    if (counted[n] < 0) continue;
    pass.loop_count->loops += loops[n];
    pass.loop_count->positions += 1.0;
  }
}

void Halting::backward(Tensor dstate_NC, Tensor dmean_NC, const Pass& pass) const {
  halting_backward(pass.rows_of(dlogit_N_), pass.rows_of(dremainder_N_), dstate_NC,
                   pass.rows_of(dprevious_NC_), dmean_NC, pass.rows_of(dponder_N_), state(pass), weight(pass),
                   pass.rows_of(loops_N_), pass.loop, pass.stream);
}

void Halting::backward_input(Tensor dinput_NC, Tensor input_NC, Tensor scratch_NC, GradientReducer& reducer,
                             const Pass& pass) const {
  const Tensor of_unit = pass.rows_of(scratch_NC);
  linear_backward(of_unit, weight_.gradient, bias_.gradient, pass.rows_of(dlogit_N_).view({pass.rows(), 1}),
                  input_NC, weight_.operand, pass.stream);
  accumulate(dinput_NC, of_unit, pass.stream);
  accumulate(dinput_NC, pass.rows_of(dprevious_NC_), pass.stream);
  reducer.mark_ready(bias_, pass.stream);
  reducer.mark_ready(weight_, pass.stream);
}

}  // namespace trireme
