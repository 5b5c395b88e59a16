#include "trainer/model/stack.h"

#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/residual.h"

namespace trireme {

bool is_looped(const Parameter& parameter) {
  return parameter.name.find("blocks.") != std::string::npos ||
         parameter.name.find("halting.") != std::string::npos;
}

TransformerStack::TransformerStack(ParameterBuffer& parameters, const TransformerOptions& options,
                                   const StackOptions& stack, const Parameter* shared_table)
    : parameters_(parameters),
      width_(options.width),
      loops_(options.loops),
      positions_(options),
      embedding_(parameters, options, stack, positions_, shared_table),
      halting_([&]() -> std::optional<Halting> {
        if (!options.halting) return std::nullopt;
        return Halting(parameters, stack.prefix, options);
      }()),
      // Two branches a block, or three, feed the residual stream in each loop: scaled so that its variance
      // doesn't grow with depth (GPT-2).
      blocks_([&] {
        const float branches = stack.cross_attention ? 3.0F : 2.0F;
        const auto depth = static_cast<float>(options.loops * stack.layers);
        const float out_stddev = options.init_stddev / std::sqrt(branches * depth);
        std::deque<TransformerBlock> blocks;
        for (std::int64_t i = 0; i < stack.layers; ++i) {
          blocks.emplace_back(parameters, stack, i, options, positions_, out_stddev);
        }
        return blocks;
      }()) {
  if (options.norm_placement == NormPlacement::kPre) {
    final_norm_.emplace(parameters, stack.prefix + "final_norm", options);
  }
  embedding_range_ = parameters.range_of(stack.prefix + "embedding.");
  embedding_norm_range_ = parameters.range_of(stack.prefix + "embedding.norm");
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    block_ranges_.push_back(parameters.range_of(stack.prefix + "blocks." + std::to_string(i) + "."));
  }
  final_norm_range_ = parameters.range_of(stack.prefix + "final_norm");
  if (loops_ > 1) looped_range_ = parameters.range_of(stack.prefix);
}

void TransformerStack::allocate(Arena& arena, const PassLimits& limits) {
  const auto rows = [&] { return arena.allocate(DType::kFloat32, {limits.rows(), width_}); };
  activations_.clear();
  embedding_activations_ = embedding_.allocate(arena, limits);
  inputs_NC_.clear();
  for (std::int64_t loop = 0; loop < loops_; ++loop) {
    for (const TransformerBlock& block : blocks_) {
      const bool own = limits.training || activations_.empty();
      activations_.push_back(own ? block.allocate(arena, limits) : activations_.front());
    }
    if (final_norm_) {
      // The first norm keeps the sum that it is given, and nothing is added to this one.
      inputs_NC_.push_back(activations_[activations_.size() - blocks_.size()].attention_norm.sum_NC);
    } else {
      inputs_NC_.push_back(limits.training || loop == 0 ? rows() : inputs_NC_.front());
    }
  }
  if (final_norm_) final_activations_ = final_norm_->allocate(arena, limits);
  if (halting_) {
    halting_->allocate(arena, limits);
    mean_NC_ = final_norm_ ? final_activations_.sum_NC : rows();
  }
  if (limits.training && (final_norm_ || halting_)) dresidual_NC_ = rows();
  scratch_ = blocks_.front().allocate_scratch(arena, limits);
}

Pass TransformerStack::pass_of_loop(std::int64_t loop, const Pass& pass) const {
  Pass result = pass;
  result.loop = result.dropout.loop = loop;
  result.first_cached = loop * std::ssize(blocks_);
  return result;
}

TransformerBlock::Activations& TransformerStack::activations(std::size_t block, const Pass& pass) {
  return activations_[static_cast<std::size_t>(pass.loop) * blocks_.size() + block];
}

Tensor TransformerStack::input_of_loop(const Pass& pass) const {
  return pass.rows_of(inputs_NC_[static_cast<std::size_t>(pass.loop)]);
}

void TransformerStack::project_memory(const Pass& pass) const {
  for (const TransformerBlock& block : blocks_) block.project_memory(pass);
}

Tensor TransformerStack::forward(Tensor tokens_BT, const Pass& pass) {
  ResidualStream stream{.residual_NC = input_of_loop(pass), .branch_NC = {}, .dropout = {}};
  {
    const ParametersInUse table(parameters_, token_table(), pass.stream);
    const ParametersInUse others(parameters_, embedding_range_, pass.stream);
    embedding_.forward(stream.residual_NC, tokens_BT, embedding_activations_, scratch_.branch_NC, pass);
  }
  const ParametersInUse looped(parameters_, looped_range_, pass.stream);
  bool done = false;
  for (loops_run_ = 0; loops_run_ < loops_ && !done; ++loops_run_) {
    const Pass in_loop = pass_of_loop(loops_run_, pass);
    if (loops_ > 1) {
      const Tensor x = input_of_loop(in_loop);
      embedding_.enter_loop(x, stream, tokens_BT, scratch_.branch_NC, in_loop);
      stream = {.residual_NC = x, .branch_NC = {}, .dropout = {}};
      if (halting_) halting_->look(x, in_loop);
    }
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const ParametersInUse block(parameters_, block_ranges_[i], pass.stream);
      blocks_[i].forward(stream, activations(i, in_loop), scratch_, in_loop);
    }
    if (halting_) done = halt(stream, in_loop);
  }
  if (halting_) stream.residual_NC = pass.rows_of(mean_NC_);
  const ParametersInUse final_norm(parameters_, final_norm_range_, pass.stream);
  return final_norm_ ? final_norm_->forward(stream, final_activations_, pass) : stream.residual_NC;
}

bool TransformerStack::halt(ResidualStream& stream, const Pass& pass) const {
  const Tensor state = halting_->state(pass);
  add_residual(state, stream.residual_NC, stream.branch_NC, {}, stream.dropout, pass.stream);
  halting_->forward(pass.rows_of(mean_NC_), pass);
  stream = {.residual_NC = state, .branch_NC = {}, .dropout = {}};
  // A cache wants the keys and values of all loops, for positions to come may run longer; and who looks at
  // attention, as many layers of each text.
  return pass.cache == nullptr && pass.attention_observer == nullptr && halting_->all_halted(pass);
}

void TransformerStack::add_ponder_loss(Tensor loss_1, Tensor counted_BT, float scale,
                                       const Pass& pass) const {
  if (halting_) halting_->add_loss(loss_1, counted_BT.view({pass.rows()}), scale, pass);
}

void TransformerStack::backward(Tensor dhidden_NC, Tensor tokens_BT, GradientReducer& reducer,
                                const Pass& pass) {
  ResidualGradient gradient{.dresidual_NC = dhidden_NC, .dbranch_NC = {}};
  if (final_norm_) {
    const ParametersInUse final_norm(parameters_, final_norm_range_, pass.stream);
    const Pass last = pass_of_loop(loops_run_ - 1, pass);
    gradient.dresidual_NC = pass.rows_of(dresidual_NC_);
    fill(gradient.dresidual_NC, 0.0F, pass.stream);
    final_norm_->backward(gradient, scratch_.dbranch_NC, dhidden_NC, final_activations_,
                          halting_ ? Dropout() : blocks_.back().mlp_dropout(last), reducer, pass);
  }
  const ParametersInUse looped(parameters_, looped_range_, pass.stream);
  const Tensor dmean = gradient.dresidual_NC;
  if (halting_) {
    gradient.dresidual_NC = final_norm_ ? dhidden_NC : pass.rows_of(dresidual_NC_);
    fill(gradient.dresidual_NC, 0.0F, pass.stream);
  }
  for (std::int64_t loop = loops_run_; loop-- > 0;) {
    const Pass in_loop = pass_of_loop(loop, pass);
    reducer.expect_more(loop > 0);
    if (halting_) halting_->backward(gradient.dresidual_NC, dmean, in_loop);
    if (final_norm_ && (halting_ || loop + 1 < loops_run_)) split_branch(gradient, in_loop);
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      const ParametersInUse block(parameters_, block_ranges_[i], pass.stream);
      const Tensor x =
          i > 0 ? pass.rows_of(activations(i - 1, in_loop).mlp_norm.y_NC) : input_of_loop(in_loop);
      const Dropout entering = i > 0 ? blocks_[i - 1].mlp_dropout(in_loop) : Dropout();
      blocks_[i].backward(gradient, x, entering, activations(i, in_loop), scratch_, reducer, in_loop);
    }
    if (halting_) {
      halting_->backward_input(gradient.dresidual_NC, input_of_loop(in_loop), scratch_.dbranch_NC, reducer,
                               in_loop);
    }
    if (loop > 0) embedding_.backward_loop(gradient.dresidual_NC, tokens_BT, in_loop);
  }
  const ParametersInUse embedding_norm(parameters_, embedding_norm_range_, pass.stream);
  embedding_.backward(gradient.dresidual_NC, tokens_BT, embedding_activations_, scratch_.branch_NC, reducer,
                      pass);
}

void TransformerStack::split_branch(ResidualGradient& gradient, const Pass& pass) const {
  const Dropout mask = blocks_.back().mlp_dropout(pass);
  gradient.dbranch_NC = gradient.dresidual_NC;
  if (!mask) return;
  gradient.dbranch_NC = pass.rows_of(scratch_.dbranch_NC);
  dropout(gradient.dbranch_NC, gradient.dresidual_NC, mask, pass.stream);
}

}  // namespace trireme
