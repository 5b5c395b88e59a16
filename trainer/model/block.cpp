#include "trainer/model/block.h"

#include <algorithm>

#include "kernels/elementwise.h"

namespace trireme {
namespace {

std::string block_name(std::int64_t layer, const char* part) {
  return "blocks." + std::to_string(layer) + "." + part;
}

}  // namespace

TransformerBlock::TransformerBlock(ParameterBuffer& parameters, std::int64_t layer,
                                   const TransformerOptions& options, const PositionTables& positions,
                                   float out_stddev)
    : layer_(layer),
      width_(options.width),
      placement_(options.norm_placement),
      attention_norm_(parameters, block_name(layer, "attention_norm"), options),
      attention_(parameters, block_name(layer, "attention"), layer, options, positions, out_stddev),
      mlp_norm_(parameters, block_name(layer, "mlp_norm"), options),
      mlp_(parameters, block_name(layer, "mlp"), options, out_stddev) {}

TransformerBlock::Activations TransformerBlock::allocate(Arena& arena, const PassLimits& limits) const {
  return {.attention_norm = attention_norm_.allocate(arena, limits),
          .attention = attention_.allocate(arena, limits),
          .mlp_norm = mlp_norm_.allocate(arena, limits),
          .mlp = mlp_.allocate(arena, limits)};
}

TransformerBlock::Scratch TransformerBlock::allocate_scratch(Arena& arena, const PassLimits& limits) const {
  const Shape shape = {limits.rows(), width_};
  Scratch scratch;
  scratch.branch_NC = arena.allocate(DType::kFloat32, shape);
  if (!limits.training) return scratch;
  scratch.dbranch_NC = arena.allocate(DType::kFloat32, shape);
  scratch.dy_NC = arena.allocate(DType::kFloat32, shape);
  // The two halves of a block take turns.
  const std::int64_t mark = arena.mark();
  scratch.attention = attention_.allocate_scratch(arena, limits);
  const std::int64_t attention_end = arena.mark();
  arena.release(mark);
  scratch.mlp = mlp_.allocate_scratch(arena, limits);
  arena.release(std::max(arena.mark(), attention_end));
  return scratch;
}

Dropout TransformerBlock::attention_dropout(const Pass& pass) const {
  return pass.dropout.at(layer_, DropoutSite::kAttentionBranch, pass.sequence * width_);
}

Dropout TransformerBlock::mlp_dropout(const Pass& pass) const {
  return pass.dropout.at(layer_, DropoutSite::kMlpBranch, pass.sequence * width_);
}

void TransformerBlock::forward(ResidualStream& stream, const Activations& activations, const Scratch& scratch,
                               const Pass& pass) const {
  const Tensor branch = pass.rows_of(scratch.branch_NC);
  const bool pre = placement_ == NormPlacement::kPre;

  const Tensor attention_in =
      pre ? attention_norm_.forward(stream, activations.attention_norm, pass) : stream.residual_NC;
  attention_.forward(branch, attention_in, activations.attention, pass);
  stream.branch_NC = branch;
  stream.dropout = attention_dropout(pass);

  const ResidualNorm& middle = pre ? mlp_norm_ : attention_norm_;
  const Tensor mlp_in = middle.forward(stream, pre ? activations.mlp_norm : activations.attention_norm, pass);
  mlp_.forward(branch, mlp_in, activations.mlp, pass);
  stream.branch_NC = branch;
  stream.dropout = mlp_dropout(pass);

  if (!pre) mlp_norm_.forward(stream, activations.mlp_norm, pass);
}

void TransformerBlock::backward(ResidualGradient& gradient, Tensor x_NC, Dropout branch_dropout,
                                const Activations& activations, const Scratch& scratch,
                                GradientReducer& reducer, const Pass& pass) const {
  if (placement_ == NormPlacement::kPre) {
    backward_pre_norm(gradient, branch_dropout, activations, scratch, reducer, pass);
  } else {
    backward_post_norm(gradient, x_NC, activations, scratch, reducer, pass);
  }
}

void TransformerBlock::backward_pre_norm(ResidualGradient& gradient, Dropout branch_dropout,
                                         const Activations& activations, const Scratch& scratch,
                                         GradientReducer& reducer, const Pass& pass) const {
  const Tensor dy = pass.rows_of(scratch.dy_NC);

  mlp_.backward(dy, gradient.dbranch_NC, pass.rows_of(activations.mlp_norm.y_NC), activations.mlp,
                scratch.mlp, reducer, pass);
  mlp_norm_.backward(gradient, scratch.dbranch_NC, dy, activations.mlp_norm, attention_dropout(pass), reducer,
                     pass);

  attention_.backward(dy, gradient.dbranch_NC, pass.rows_of(activations.attention_norm.y_NC),
                      activations.attention, scratch.attention, reducer, pass);
  attention_norm_.backward(gradient, scratch.dbranch_NC, dy, activations.attention_norm, branch_dropout,
                           reducer, pass);
}

void TransformerBlock::backward_post_norm(ResidualGradient& gradient, Tensor x_NC,
                                          const Activations& activations, const Scratch& scratch,
                                          GradientReducer& reducer, const Pass& pass) const {
  // From the gradient of a norm's output to that of its residual, and beside it the branch's.
  const Tensor dr = gradient.dresidual_NC;
  const auto through_norm = [&](const ResidualNorm& norm, const ResidualNorm::Activations& of_norm,
                                Dropout dropout) {
    ResidualGradient sum{.dresidual_NC = pass.rows_of(scratch.dy_NC), .dbranch_NC = {}};
    fill(sum.dresidual_NC, 0.0F, pass.stream);
    norm.backward(sum, scratch.dbranch_NC, dr, of_norm, dropout, reducer, pass);
    return sum;
  };

  ResidualGradient sum = through_norm(mlp_norm_, activations.mlp_norm, mlp_dropout(pass));
  mlp_.backward(dr, sum.dbranch_NC, pass.rows_of(activations.attention_norm.y_NC), activations.mlp,
                scratch.mlp, reducer, pass);
  accumulate(dr, sum.dresidual_NC, pass.stream);

  sum = through_norm(attention_norm_, activations.attention_norm, attention_dropout(pass));
  attention_.backward(dr, sum.dbranch_NC, x_NC, activations.attention, scratch.attention, reducer, pass);
  accumulate(dr, sum.dresidual_NC, pass.stream);
}

}  // namespace trireme
