#include "trainer/model/block.h"

#include <algorithm>

namespace trireme {
namespace {

std::string block_name(std::int64_t layer, const char* part) {
  return "blocks." + std::to_string(layer) + "." + part;
}

}  // namespace

TransformerBlock::TransformerBlock(ParameterBuffer& parameters, std::int64_t layer, std::int64_t width,
                                   std::int64_t heads, std::int64_t feed_forward, float init_stddev,
                                   float out_stddev)
    : layer_(layer),
      width_(width),
      attention_norm_(parameters, block_name(layer, "attention_norm"), width),
      attention_(parameters, block_name(layer, "attention"), layer, width, heads, init_stddev, out_stddev),
      mlp_norm_(parameters, block_name(layer, "mlp_norm"), width),
      mlp_(parameters, block_name(layer, "mlp"), width, feed_forward, init_stddev, out_stddev) {}

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

  const Tensor attention_in = attention_norm_.forward(stream, activations.attention_norm, pass);
  attention_.forward(branch, attention_in, activations.attention, pass);
  stream.branch_NC = branch;
  stream.dropout = attention_dropout(pass);

  const Tensor mlp_in = mlp_norm_.forward(stream, activations.mlp_norm, pass);
  mlp_.forward(branch, mlp_in, activations.mlp, pass);
  stream.branch_NC = branch;
  stream.dropout = mlp_dropout(pass);
}

void TransformerBlock::backward(ResidualGradient& gradient, Dropout branch_dropout,
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

}  // namespace trireme
