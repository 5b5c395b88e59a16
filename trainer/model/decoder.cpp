#include "trainer/model/decoder.h"

#include <cmath>

#include "kernels/elementwise.h"

namespace trireme {

Decoder::Decoder(ParameterBuffer& parameters, const TransformerOptions& options)
    : width_(options.width),
      embedding_(parameters, options.vocabulary, options.context, options.width, options.init_stddev),
      // Two branches a block feed the residual stream: scaled so that its variance doesn't grow with depth
      // (GPT-2).
      blocks_([&] {
        const float out_stddev = options.init_stddev / std::sqrt(2.0F * static_cast<float>(options.layers));
        std::deque<TransformerBlock> blocks;
        for (std::int64_t layer = 0; layer < options.layers; ++layer) {
          blocks.emplace_back(parameters, layer, options.width, options.heads, options.feed_forward,
                              options.init_stddev, out_stddev);
        }
        return blocks;
      }()),
      final_norm_(parameters, "final_norm", options.width) {}

void Decoder::allocate(Arena& arena, const PassLimits& limits) {
  activations_.clear();
  for (const TransformerBlock& block : blocks_) {
    const bool own = limits.training || activations_.empty();
    activations_.push_back(own ? block.allocate(arena, limits) : activations_.front());
  }
  final_activations_ = final_norm_.allocate(arena, limits);
  scratch_ = blocks_.front().allocate_scratch(arena, limits);
  if (limits.training) dresidual_NC_ = arena.allocate(DType::kFloat32, {limits.rows(), width_});
}

Tensor Decoder::forward(Tensor tokens_BT, const Pass& pass) {
  ResidualStream stream;
  stream.residual_NC = pass.rows_of(activations_.front().attention_norm.sum_NC);
  embedding_.forward(stream.residual_NC, tokens_BT, pass);
  for (std::size_t i = 0; i < blocks_.size(); ++i)
    blocks_[i].forward(stream, activations_[i], scratch_, pass);
  return final_norm_.forward(stream, final_activations_, pass);
}

void Decoder::backward(Tensor dhidden_NC, Tensor tokens_BT, GradientReducer& reducer, const Pass& pass) {
  ResidualGradient gradient;
  gradient.dresidual_NC = pass.rows_of(dresidual_NC_);
  fill(gradient.dresidual_NC, 0.0F, pass.stream);
  final_norm_.backward(gradient, scratch_.dbranch_NC, dhidden_NC, final_activations_,
                       blocks_.back().mlp_dropout(pass), reducer, pass);
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    const Dropout entering = i > 0 ? blocks_[i - 1].mlp_dropout(pass) : Dropout();
    blocks_[i].backward(gradient, entering, activations_[i], scratch_, reducer, pass);
  }
  embedding_.backward(gradient.dresidual_NC, tokens_BT, reducer, pass);
}

}  // namespace trireme
