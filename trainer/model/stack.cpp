#include "trainer/model/stack.h"

#include <cmath>

#include "kernels/elementwise.h"

namespace trireme {

TransformerStack::TransformerStack(ParameterBuffer& parameters, const TransformerOptions& options,
                                   const StackOptions& stack, const Parameter* shared_table)
    : width_(options.width),
      positions_(options),
      embedding_(parameters, options, stack, positions_, shared_table),
      // Two branches a block, or three, feed the residual stream: scaled so that its variance doesn't grow
      // with depth (GPT-2).
      blocks_([&] {
        const float branches = stack.cross_attention ? 3.0F : 2.0F;
        const float out_stddev = options.init_stddev / std::sqrt(branches * static_cast<float>(stack.layers));
        std::deque<TransformerBlock> blocks;
        for (std::int64_t i = 0; i < stack.layers; ++i) {
          blocks.emplace_back(parameters, stack, i, options, positions_, out_stddev);
        }
        return blocks;
      }()) {
  if (options.norm_placement == NormPlacement::kPre) {
    final_norm_.emplace(parameters, stack.prefix + "final_norm", options);
  }
}

void TransformerStack::allocate(Arena& arena, const PassLimits& limits) {
  activations_.clear();
  embedding_activations_ = embedding_.allocate(arena, limits);
  for (const TransformerBlock& block : blocks_) {
    const bool own = limits.training || activations_.empty();
    activations_.push_back(own ? block.allocate(arena, limits) : activations_.front());
  }
  if (final_norm_) {
    final_activations_ = final_norm_->allocate(arena, limits);
    // The first norm keeps the sum that it is given, and nothing is added to this one.
    embedded_NC_ = activations_.front().attention_norm.sum_NC;
    if (limits.training) dresidual_NC_ = arena.allocate(DType::kFloat32, {limits.rows(), width_});
  } else {
    embedded_NC_ = arena.allocate(DType::kFloat32, {limits.rows(), width_});
  }
  scratch_ = blocks_.front().allocate_scratch(arena, limits);
}

Tensor TransformerStack::input_of_block(std::size_t i, const Pass& pass) const {
  return pass.rows_of(i > 0 ? activations_[i - 1].mlp_norm.y_NC : embedded_NC_);
}

void TransformerStack::project_memory(const Pass& pass) const {
  for (const TransformerBlock& block : blocks_) block.project_memory(pass);
}

Tensor TransformerStack::forward(Tensor tokens_BT, const Pass& pass) {
  ResidualStream stream{.residual_NC = pass.rows_of(embedded_NC_), .branch_NC = {}, .dropout = {}};
  embedding_.forward(stream.residual_NC, tokens_BT, embedding_activations_, scratch_.branch_NC, pass);
  for (std::size_t i = 0; i < blocks_.size(); ++i)
    blocks_[i].forward(stream, activations_[i], scratch_, pass);
  return final_norm_ ? final_norm_->forward(stream, final_activations_, pass) : stream.residual_NC;
}

void TransformerStack::backward(Tensor dhidden_NC, Tensor tokens_BT, GradientReducer& reducer,
                                const Pass& pass) {
  ResidualGradient gradient{.dresidual_NC = dhidden_NC, .dbranch_NC = {}};
  if (final_norm_) {
    gradient.dresidual_NC = pass.rows_of(dresidual_NC_);
    fill(gradient.dresidual_NC, 0.0F, pass.stream);
    final_norm_->backward(gradient, scratch_.dbranch_NC, dhidden_NC, final_activations_,
                          blocks_.back().mlp_dropout(pass), reducer, pass);
  }
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    const Dropout entering = i > 0 ? blocks_[i - 1].mlp_dropout(pass) : Dropout();
    blocks_[i].backward(gradient, input_of_block(i, pass), entering, activations_[i], scratch_, reducer,
                        pass);
  }
  embedding_.backward(gradient.dresidual_NC, tokens_BT, embedding_activations_, scratch_.branch_NC, reducer,
                      pass);
}

}  // namespace trireme
