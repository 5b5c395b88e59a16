#include "trainer/model/block.h"

#include <algorithm>

#include "kernels/elementwise.h"

namespace trireme {
namespace {

std::string part_name(const StackOptions& stack, std::int64_t index, const char* part) {
  return stack.prefix + "blocks." + std::to_string(index) + "." + part;
}

}  // namespace

TransformerBlock::TransformerBlock(ParameterBuffer& parameters, const StackOptions& stack, std::int64_t index,
                                   const TransformerOptions& options, const PositionTables& positions,
                                   float out_stddev, const TensorRanks& ranks)
    : ranks_(ranks),
      index_(index),
      layer_(stack.first_layer + index),
      cross_layer_(layer_ + stack.layers),
      width_(options.width),
      placement_(options.norm_placement),
      attention_norm_(parameters, part_name(stack, index, "attention_norm"), options, ranks),
      attention_(parameters, part_name(stack, index, "attention"), layer_, stack.causal, options, positions,
                 out_stddev, ranks),
      cross_norm_([&]() -> std::optional<ResidualNorm> {
        if (!stack.cross_attention) return std::nullopt;
        return ResidualNorm(parameters, part_name(stack, index, "cross_norm"), options, ranks);
      }()),
      cross_attention_([&]() -> std::optional<CrossAttention> {
        if (!stack.cross_attention) return std::nullopt;
        return CrossAttention(parameters, part_name(stack, index, "cross_attention"), cross_layer_, index,
                              options, positions, out_stddev, ranks);
      }()),
      mlp_norm_(parameters, part_name(stack, index, "mlp_norm"), options, ranks),
      mlp_(parameters, part_name(stack, index, "mlp"), options, out_stddev, ranks) {}

TransformerBlock::Activations TransformerBlock::allocate(Arena& arena, const PassLimits& limits,
                                                         const Activations* first) const {
  const bool pre = placement_ == NormPlacement::kPre;
  const auto rows = [&] {
    return arena.allocate(limits.dtype, {ranks_.rows_per_rank(limits.rows()), width_});
  };
  if (first != nullptr && (!limits.training || limits.recompute == Recompute::kFull)) {
    Activations activations = *first;
    if (limits.training) (pre ? activations.attention_norm.sum_NC : activations.mlp_norm.y_NC) = rows();
    return activations;
  }
  const Activations* const shared = limits.recompute == Recompute::kSelective ? first : nullptr;
  const auto of = [&](auto Activations::*part) { return shared != nullptr ? &(shared->*part) : nullptr; };
  Activations activations;
  activations.attention_norm = attention_norm_.allocate(arena, limits, of(&Activations::attention_norm));
  activations.attention = attention_.allocate(arena, limits);
  if (cross_attention_) {
    activations.cross_norm = cross_norm_->allocate(arena, limits, of(&Activations::cross_norm));
    activations.cross_attention = cross_attention_->allocate(arena, limits);
  }
  activations.mlp_norm = mlp_norm_.allocate(arena, limits, pre ? of(&Activations::mlp_norm) : nullptr);
  activations.mlp = mlp_.allocate(arena, limits, of(&Activations::mlp));
  return activations;
}

TransformerBlock::Scratch TransformerBlock::allocate_scratch(Arena& arena, const PassLimits& limits) const {
  const Shape shape = {ranks_.rows_per_rank(limits.rows()), width_};
  Scratch scratch;
  scratch.branch_NC = arena.allocate(limits.dtype, shape);
  if (!limits.training) return scratch;
  scratch.dbranch_NC = arena.allocate(limits.dtype, shape);
  scratch.dy_NC = arena.allocate(limits.dtype, shape);
  // The sublayers take turns.
  const std::int64_t begin = arena.mark();
  std::int64_t end = begin;
  const auto in_turn = [&](auto& of_sublayer, const auto& sublayer) {
    arena.release(begin);
    of_sublayer = sublayer.allocate_scratch(arena, limits);
    end = std::max(end, arena.mark());
  };
  in_turn(scratch.attention, attention_);
  if (cross_attention_) in_turn(scratch.cross_attention, *cross_attention_);
  in_turn(scratch.mlp, mlp_);
  arena.release(end);
  return scratch;
}

Dropout TransformerBlock::mask(std::int64_t layer, DropoutSite site, const Pass& pass) const {
  return ranks_.own_mask(pass.dropout.at(layer, site, pass.sequence * width_), pass.rows(), width_);
}

Dropout TransformerBlock::mlp_dropout(const Pass& pass) const {
  return mask(layer_, DropoutSite::kMlpBranch, pass);
}

TransformerBlock::Joint TransformerBlock::attention_joint(const Activations& activations,
                                                          const Pass& pass) const {
  return {attention_norm_, activations.attention_norm, mask(layer_, DropoutSite::kAttentionBranch, pass)};
}

TransformerBlock::Joint TransformerBlock::cross_joint(const Activations& activations,
                                                      const Pass& pass) const {
  return {*cross_norm_, activations.cross_norm, mask(cross_layer_, DropoutSite::kAttentionBranch, pass)};
}

TransformerBlock::Joint TransformerBlock::mlp_joint(const Activations& activations, const Pass& pass) const {
  return {mlp_norm_, activations.mlp_norm, mlp_dropout(pass)};
}

void TransformerBlock::project_memory(const Pass& pass) const {
  cross_attention_->project_memory(pass.cache->memory_BSG[static_cast<std::size_t>(index_)], *pass.memory,
                                   pass.stream);
}

template <typename Sublayer>
void TransformerBlock::forward_sublayer(ResidualStream& stream, const Joint& joint, Tensor branch_NC,
                                        const Pass& pass, Sublayer f) const {
  const bool pre = placement_ == NormPlacement::kPre;
  f(branch_NC, pre ? joint.norm.forward(stream, joint.activations, pass) : stream.residual_NC);
  stream.branch_NC = branch_NC;
  stream.dropout = joint.branch;
  if (!pre) joint.norm.forward(stream, joint.activations, pass);
}

void TransformerBlock::forward_attentions(ResidualStream& stream, const Activations& activations,
                                          const Scratch& scratch, const Pass& pass) const {
  const Tensor branch = own_rows_of(scratch.branch_NC, pass);
  forward_sublayer(stream, attention_joint(activations, pass), branch, pass,
                   [&](Tensor y, Tensor x) { attention_.forward(y, x, activations.attention, pass); });
  if (cross_attention_) {
    forward_sublayer(stream, cross_joint(activations, pass), branch, pass, [&](Tensor y, Tensor x) {
      cross_attention_->forward(y, x, activations.cross_attention, pass);
    });
  }
}

void TransformerBlock::forward(ResidualStream& stream, const Activations& activations, const Scratch& scratch,
                               const Pass& pass) const {
  forward_attentions(stream, activations, scratch, pass);
  forward_sublayer(stream, mlp_joint(activations, pass), own_rows_of(scratch.branch_NC, pass), pass,
                   [&](Tensor y, Tensor x) { mlp_.forward(y, x, activations.mlp, pass); });
}

void TransformerBlock::recompute(Recompute mode, Tensor x_NC, const Activations& activations,
                                 const Scratch& scratch, const Pass& pass) const {
  const bool pre = placement_ == NormPlacement::kPre;
  if (mode == Recompute::kSelective) {
    attention_norm_.recompute(activations.attention_norm, pass);
    if (cross_attention_) cross_norm_->recompute(activations.cross_norm, pass);
    if (pre) mlp_norm_.recompute(activations.mlp_norm, pass);
    mlp_.recompute(activations.mlp, pass);
  } else if (mode == Recompute::kFull) {
    ResidualStream stream{.residual_NC = pre ? own_rows_of(activations.attention_norm.sum_NC, pass) : x_NC,
                          .branch_NC = {},
                          .dropout = {}};
    if (pre) {
      forward_attentions(stream, activations, scratch, pass);
      mlp_.forward_hidden(mlp_norm_.forward(stream, activations.mlp_norm, pass), activations.mlp, pass);
    } else {
      forward(stream, activations, scratch, pass);  // its last norm is undone, too
    }
  }
}

template <typename Sublayer>
void TransformerBlock::backward_sublayer(ResidualGradient& gradient, const Joint& joint, Tensor x_NC,
                                         Dropout entering, const Scratch& scratch, GradientReducer& reducer,
                                         const Pass& pass, Sublayer f) const {
  const Tensor dy = own_rows_of(scratch.dy_NC, pass);
  if (placement_ == NormPlacement::kPre) {
    f(dy, gradient.dbranch_NC, own_rows_of(joint.activations.y_NC, pass));
    joint.norm.backward(gradient, scratch.dbranch_NC, dy, joint.activations, entering, reducer, pass);
    return;
  }
  // From the gradient of the norm's output to that of its residual, and beside it the branch's.
  const Tensor dr = gradient.dresidual_NC;
  ResidualGradient sum{.dresidual_NC = dy, .dbranch_NC = {}};
  fill(sum.dresidual_NC, 0.0F, pass.stream);
  joint.norm.backward(sum, scratch.dbranch_NC, dr, joint.activations, joint.branch, reducer, pass);
  f(dr, sum.dbranch_NC, x_NC);
  accumulate(dr, sum.dresidual_NC, pass.stream);
}

void TransformerBlock::backward(ResidualGradient& gradient, Tensor x_NC, Dropout branch_dropout,
                                const Activations& activations, const Scratch& scratch,
                                GradientReducer& reducer, const Pass& pass) const {
  const Joint first = attention_joint(activations, pass);
  const Joint middle = cross_attention_ ? cross_joint(activations, pass) : first;
  backward_sublayer(gradient, mlp_joint(activations, pass), own_rows_of(middle.activations.y_NC, pass),
                    middle.branch, scratch, reducer, pass, [&](Tensor dx, Tensor dy, Tensor x) {
                      mlp_.backward(dx, dy, x, activations.mlp, scratch.mlp, reducer, pass);
                    });
  if (cross_attention_) {
    backward_sublayer(gradient, middle, own_rows_of(first.activations.y_NC, pass), first.branch, scratch,
                      reducer, pass, [&](Tensor dx, Tensor dy, Tensor x) {
                        cross_attention_->backward(dx, dy, x, activations.cross_attention,
                                                   scratch.cross_attention, reducer, pass);
                      });
  }
  backward_sublayer(gradient, first, x_NC, branch_dropout, scratch, reducer, pass,
                    [&](Tensor dx, Tensor dy, Tensor x) {
                      attention_.backward(dx, dy, x, activations.attention, scratch.attention, reducer, pass);
                    });
}

}  // namespace trireme
