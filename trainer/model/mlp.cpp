#include "trainer/model/mlp.h"

#include "kernels/activation.h"
#include "kernels/gated_activation.h"

namespace trireme {

Activation activation_of(FeedForward kind) {
  switch (kind) {
    case FeedForward::kGeluTanh:
      return Activation::kGeluTanh;
    case FeedForward::kGelu:
    case FeedForward::kGeglu:
      return Activation::kGelu;
    case FeedForward::kRelu:
      return Activation::kRelu;
    case FeedForward::kSilu:
    case FeedForward::kSwiglu:
      return Activation::kSilu;
  }
  return {};
}

Mlp::Mlp(ParameterBuffer& parameters, const std::string& name, const TransformerOptions& options,
         float out_stddev, const TensorRanks& ranks)
    : ranks_(ranks),
      width_(options.width),
      units_(ranks.share(options.feed_forward)),
      is_gated_(is_gated(options.activation)),
      activation_(activation_of(options.activation)),
      in_(parameters, name + ".in", options.width,
          is_gated_ ? 2 * options.feed_forward : options.feed_forward, options.biases == Biases::kAll,
          options.init_stddev, LinearSplit::outputs(ranks, preactivations(options))),
      out_(parameters, name + ".out", options.feed_forward, options.width, options.biases == Biases::kAll,
           out_stddev, LinearSplit::inputs(ranks, units_)) {}

std::vector<FlatRange> Mlp::preactivations(const TransformerOptions& options) const {
  if (!is_gated_) return {units_};
  return {units_, {options.feed_forward + units_.begin, options.feed_forward + units_.end}};
}

Mlp::Activations Mlp::allocate(Arena& arena, const PassLimits& limits, const Activations* shared) const {
  return {.preactivation_NG = arena.allocate(limits.dtype, {limits.rows(), preactivation_width()}),
          .hidden_NF = shared != nullptr ? shared->hidden_NF
                                         : arena.allocate(limits.dtype, {limits.rows(), units_.size()}),
          .dy_NC = limits.deferred_weights
                       ? arena.allocate(limits.dtype, {ranks_.rows_per_rank(limits.rows()), width_})
                       : Tensor()};
}

Mlp::Scratch Mlp::allocate_scratch(Arena& arena, const PassLimits& limits) const {
  return {.dhidden_NF = arena.allocate(limits.dtype, {limits.rows(), units_.size()})};
}

void Mlp::forward(Tensor y_NC, Tensor x_NC, const Activations& activations, const Pass& pass) const {
  forward_hidden(x_NC, activations, pass);
  out_.forward(y_NC, pass.rows_of(activations.hidden_NF), pass.stream);
}

void Mlp::forward_hidden(Tensor x_NC, const Activations& activations, const Pass& pass) const {
  const Tensor hidden = pass.rows_of(activations.hidden_NF);
  const Tensor preactivation = pass.rows_of(activations.preactivation_NG);
  if (is_gated_) {
    in_.forward(preactivation, x_NC, pass.stream);
    gated_activation_forward(hidden, preactivation, activation_, pass.stream);
  } else {
    in_.forward(hidden, preactivation, x_NC, activation_, pass.stream);
  }
}

void Mlp::recompute(const Activations& activations, const Pass& pass) const {
  const Tensor hidden = pass.rows_of(activations.hidden_NF);
  const Tensor preactivation = pass.rows_of(activations.preactivation_NG);
  if (is_gated_) {
    gated_activation_forward(hidden, preactivation, activation_, pass.stream);
  } else {
    activation_forward(hidden, preactivation, activation_, pass.stream);
  }
}

void Mlp::backward(Tensor dx_NC, Tensor dy_NC, Tensor x_NC, const Activations& activations,
                   const Scratch& scratch, GradientReducer& reducer, const Pass& pass) const {
  const Tensor dhidden = pass.rows_of(scratch.dhidden_NF);
  const Tensor preactivation = pass.rows_of(activations.preactivation_NG);
  const Tensor hidden = pass.rows_of(activations.hidden_NF);
  if (is_gated_) {
    const Tensor dpreactivation = preactivation;  // in place: nobody needs it after this
    out_.backward(dhidden, dy_NC, hidden, reducer, pass.stream, pass.deferral(activations.dy_NC));
    gated_activation_backward(dpreactivation, dhidden, preactivation, activation_, pass.stream);
    in_.backward(dx_NC, dpreactivation, x_NC, reducer, pass.stream,
                 pass.deferral(activations.preactivation_NG));
  } else {
    const Tensor dpreactivation = dhidden;  // made at once
    out_.backward_through(dpreactivation, dy_NC, hidden, preactivation, activation_, reducer, pass.stream,
                          pass.deferral(activations.dy_NC));
    in_.backward(dx_NC, dpreactivation, x_NC, reducer, pass.stream,
                 pass.deferral(activations.preactivation_NG));
  }
}

}  // namespace trireme
