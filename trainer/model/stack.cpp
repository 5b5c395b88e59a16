#include "trainer/model/stack.h"

#include <cmath>

#include <glog/logging.h>

#include "kernels/elementwise.h"
#include "kernels/residual.h"

namespace trireme {
namespace {

LayerRange part_of(const StackOptions& stack) {
  return stack.part.size() > 0 ? stack.part : LayerRange{0, static_cast<int>(stack.layers)};
}

}  // namespace

bool is_looped(const Parameter& parameter) {
  return parameter.name.find("blocks.") != std::string::npos ||
         parameter.name.find("halting.") != std::string::npos;
}

TransformerStack::TransformerStack(ParameterBuffer& parameters, const TransformerOptions& options,
                                   const StackOptions& stack, const TensorRanks& ranks, Stream stream,
                                   const Parameter* shared_table)
    : ranks_(ranks),
      parameters_(parameters),
      width_(options.width),
      loops_(options.loops),
      is_pre_norm_(options.norm_placement == NormPlacement::kPre),
      is_last_(part_of(stack).end == stack.layers),
      positions_(options, stream),
      embedding_([&]() -> std::optional<Embedding> {
        if (part_of(stack).begin > 0) return std::nullopt;
        return Embedding(parameters, options, stack, positions_, ranks, shared_table);
      }()),
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
        for (std::int64_t i = part_of(stack).begin; i < part_of(stack).end; ++i) {
          blocks.emplace_back(parameters, stack, i, options, positions_, out_stddev, ranks);
        }
        return blocks;
      }()) {
  CHECK(loops_ == 1 || (is_first() && is_last())) << "a looped stack is not shared by stages";
  if (is_pre_norm_ && is_last_) final_norm_.emplace(parameters, stack.prefix + "final_norm", options, ranks);
  embedding_range_ = parameters.range_of(stack.prefix + "embedding.");
  embedding_norm_range_ = parameters.range_of(stack.prefix + "embedding.norm");
  for (int i = part_of(stack).begin; i < part_of(stack).end; ++i)
    block_ranges_.push_back(parameters.range_of(stack.prefix + "blocks." + std::to_string(i) + "."));
  if (final_norm_) final_norm_range_ = parameters.range_of(stack.prefix + "final_norm");
  if (loops_ > 1) looped_range_ = parameters.range_of(stack.prefix);
}

void TransformerStack::allocate(Arena& arena, PassLimits limits, const TransformerStack* sharing) {
  CHECK(limits.slots == 1 || !halting_) << "positions that halt keep what they did of one microbatch";
  recompute_ = limits.recompute;
  limits.deferred_weights = limits.deferred_weights && recompute_ == Recompute::kNone;
  keeps_operands_ = limits.deferred_weights;
  slots_.clear();
  const Slot* first = sharing != nullptr ? &sharing->slots_.front() : nullptr;
  slots_.reserve(limits.slots);
  for (std::size_t i = 0; i < limits.slots; ++i) {
    slots_.push_back(allocate_slot(arena, limits, first));
    if (first == nullptr) first = &slots_.front();
  }
  if (halting_) halting_->allocate(arena, limits);
  if (limits.training && (final_norm_ || halting_ || needs_room_for_gradient()))
    dresidual_NC_ = arena.allocate(limits.dtype, {ranks_.rows_per_rank(limits.rows()), width_});
  scratch_ = sharing != nullptr ? sharing->scratch_ : blocks_.front().allocate_scratch(arena, limits);
}

TransformerStack::Slot TransformerStack::allocate_slot(Arena& arena, const PassLimits& limits,
                                                       const Slot* first) const {
  const auto rows = [&] {
    return arena.allocate(limits.dtype, {ranks_.rows_per_rank(limits.rows()), width_});
  };
  Slot slot;
  if (embedding_) slot.embedding = embedding_->allocate(arena, limits);
  for (std::int64_t loop = 0; loop < loops_; ++loop) {
    for (const TransformerBlock& block : blocks_) {
      const std::vector<TransformerBlock::Activations>& known = (first != nullptr ? *first : slot).blocks;
      slot.blocks.push_back(block.allocate(arena, limits, known.empty() ? nullptr : &known.front()));
    }
    if (is_pre_norm_) {
      // The first norm keeps the sum that it is given, and nothing is added to this one.
      slot.inputs_NC.push_back(slot.blocks[slot.blocks.size() - blocks_.size()].attention_norm.sum_NC);
    } else {
      slot.inputs_NC.push_back(limits.training || loop == 0 ? rows() : slot.inputs_NC.front());
    }
  }
  if (final_norm_) slot.final_norm = final_norm_->allocate(arena, limits);
  if (halting_) slot.mean_NC = final_norm_ ? slot.final_norm.sum_NC : rows();
  return slot;
}

Pass TransformerStack::pass_of_loop(std::int64_t loop, const Pass& pass) const {
  Pass result = pass;
  result.loop = result.dropout.loop = loop;
  result.first_cached = loop * std::ssize(blocks_);
  return result;
}

const TransformerBlock::Activations& TransformerStack::activations(std::size_t block,
                                                                   const Pass& pass) const {
  return slots_[pass.slot].blocks[static_cast<std::size_t>(pass.loop) * blocks_.size() + block];
}

Tensor TransformerStack::input_of_loop(const Pass& pass) const {
  return own_rows_of(slots_[pass.slot].inputs_NC[static_cast<std::size_t>(pass.loop)], pass);
}

Tensor TransformerStack::input_of_block(std::size_t block, const Pass& pass) const {
  return block > 0 ? own_rows_of(activations(block - 1, pass).mlp_norm.y_NC, pass) : input_of_loop(pass);
}

void TransformerStack::project_memory(const Pass& pass) const {
  for (const TransformerBlock& block : blocks_) block.project_memory(pass);
}

void TransformerStack::forward(Tensor input, Tensor out_NC, const Pass& pass) {
  ResidualStream stream{.residual_NC = input_of_loop(pass), .branch_NC = {}, .dropout = {}};
  if (embedding_) {
    const ParametersInUse table(parameters_, embedding_->token_table(), pass.stream);
    const ParametersInUse others(parameters_, embedding_range_, pass.stream);
    embedding_->forward(stream.residual_NC, input, slot(pass).embedding, scratch_.branch_NC, pass);
  } else {
    copy(stream.residual_NC, input, pass.stream);
  }
  const ParametersInUse looped(parameters_, looped_range_, pass.stream);
  bool done = false;
  std::int64_t& loops_run = slot(pass).loops_run;
  for (loops_run = 0; loops_run < loops_ && !done; ++loops_run) {
    const Pass in_loop = pass_of_loop(loops_run, pass);
    if (loops_ > 1) {
      const Tensor x = input_of_loop(in_loop);
      embedding_->enter_loop(x, stream, input, scratch_.branch_NC, in_loop);
      stream = {.residual_NC = x, .branch_NC = {}, .dropout = {}};
      if (halting_) halting_->look(x, in_loop);
    }
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const ParametersInUse block(parameters_, block_ranges_[i], pass.stream);
      blocks_[i].forward(stream, activations(i, in_loop), scratch_, in_loop);
    }
    if (halting_) done = halt(stream, in_loop);
  }
  if (halting_) stream.residual_NC = own_rows_of(slot(pass).mean_NC, pass);
  const ParametersInUse final_norm(parameters_, final_norm_range_, pass.stream);
  if (final_norm_) final_norm_->forward(stream, slot(pass).final_norm, pass);
  if (!is_last_) add_residual(out_NC, stream.residual_NC, stream.branch_NC, {}, stream.dropout, pass.stream);
}

Tensor TransformerStack::output(const Pass& pass) const {
  const Slot& slot = slots_[pass.slot];
  if (final_norm_) return own_rows_of(slot.final_norm.y_NC, pass);
  const Pass last = pass_of_loop(slot.loops_run - 1, pass);
  return own_rows_of(halting_ ? slot.mean_NC : activations(blocks_.size() - 1, last).mlp_norm.y_NC, pass);
}

bool TransformerStack::halt(ResidualStream& stream, const Pass& pass) {
  const Tensor state = halting_->state(pass);
  add_residual(state, stream.residual_NC, stream.branch_NC, {}, stream.dropout, pass.stream);
  halting_->forward(own_rows_of(slot(pass).mean_NC, pass), pass);
  stream = {.residual_NC = state, .branch_NC = {}, .dropout = {}};
  // A cache wants the keys and values of all loops, for positions to come may run longer; and who looks at
  // attention, as many layers of each text.
  return pass.cache == nullptr && pass.attention_observer == nullptr && halting_->all_halted(pass);
}

void TransformerStack::add_ponder_loss(Tensor loss_1, Tensor counted_BT, float scale,
                                       const Pass& pass) const {
  if (halting_) halting_->add_loss(loss_1, counted_BT.view({pass.rows()}), scale, pass);
}

Tensor TransformerStack::backward(Tensor dout_NC, Tensor tokens_BT, GradientReducer& reducer,
                                  const Pass& pass) {
  const std::int64_t loops_run = slot(pass).loops_run;
  ResidualGradient gradient{.dresidual_NC = dout_NC, .dbranch_NC = {}};
  if (needs_room_for_gradient()) {
    gradient.dresidual_NC = own_rows_of(dresidual_NC_, pass);
    copy(gradient.dresidual_NC, dout_NC, pass.stream);
  }
  if (final_norm_) {
    const ParametersInUse final_norm(parameters_, final_norm_range_, pass.stream);
    reducer.expect(final_norm_range_, pass.stream);
    const Pass last = pass_of_loop(loops_run - 1, pass);
    gradient.dresidual_NC = own_rows_of(dresidual_NC_, pass);
    fill(gradient.dresidual_NC, 0.0F, pass.stream);
    final_norm_->backward(gradient, scratch_.dbranch_NC, dout_NC, slot(pass).final_norm,
                          halting_ ? Dropout() : blocks_.back().mlp_dropout(last), reducer, pass);
  } else if (is_pre_norm_) {
    split_branch(gradient, pass);
  }
  const ParametersInUse looped(parameters_, looped_range_, pass.stream);
  reducer.expect(looped_range_, pass.stream);
  const Tensor dmean = gradient.dresidual_NC;
  if (halting_) {
    gradient.dresidual_NC = final_norm_ ? dout_NC : own_rows_of(dresidual_NC_, pass);
    fill(gradient.dresidual_NC, 0.0F, pass.stream);
  }
  for (std::int64_t loop = loops_run; loop-- > 0;) {
    Pass in_loop = pass_of_loop(loop, pass);
    if (pass.defers_weights && keeps_operands_) in_loop.deferred = &slot(pass).deferred;
    if (loops_ > 1) reducer.expect_more(loop > 0);
    if (halting_) halting_->backward(gradient.dresidual_NC, dmean, in_loop);
    if (is_pre_norm_ && (halting_ || loop + 1 < loops_run)) split_branch(gradient, in_loop);
    for (std::size_t i = blocks_.size(); i-- > 0;) {
      const ParametersInUse block(parameters_, block_ranges_[i], pass.stream);
      reducer.expect(block_ranges_[i], pass.stream);
      const Tensor x = input_of_block(i, in_loop);
      blocks_[i].recompute(recompute_, x, activations(i, in_loop), scratch_, in_loop);
      const Dropout entering = i > 0 ? blocks_[i - 1].mlp_dropout(in_loop) : Dropout();
      blocks_[i].backward(gradient, x, entering, activations(i, in_loop), scratch_, reducer, in_loop);
    }
    if (halting_) {
      halting_->backward_input(gradient.dresidual_NC, input_of_loop(in_loop), scratch_.dbranch_NC, reducer,
                               in_loop);
    }
    if (loop > 0) embedding_->backward_loop(gradient.dresidual_NC, tokens_BT, in_loop);
  }
  if (!embedding_) return gradient.dresidual_NC;
  const ParametersInUse embedding_norm(parameters_, embedding_norm_range_, pass.stream);
  reducer.expect(embedding_range_, pass.stream);
  reducer.expect(embedding_->token_table().elements(), pass.stream);
  embedding_->backward(gradient.dresidual_NC, tokens_BT, slot(pass).embedding, scratch_.branch_NC, reducer,
                       pass);
  return {};
}

void TransformerStack::backward_weights(GradientReducer& reducer, const Pass& pass) {
  slot(pass).deferred.run(reducer, pass.stream);
}

void TransformerStack::split_branch(ResidualGradient& gradient, const Pass& pass) const {
  const Dropout mask = blocks_.back().mlp_dropout(pass);
  gradient.dbranch_NC = gradient.dresidual_NC;
  if (!mask) return;
  gradient.dbranch_NC = own_rows_of(scratch_.dbranch_NC, pass);
  dropout(gradient.dbranch_NC, gradient.dresidual_NC, mask, pass.stream);
}

}  // namespace trireme
