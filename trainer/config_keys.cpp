#include "trainer/config_keys.h"

#include <algorithm>
#include <charconv>

#include <glog/logging.h>

#include "trainer/model/transformer_options.h"

namespace trireme {
namespace {

template <auto kSection, auto kField>
auto& at(Config& config) {
  return config.*kSection.*kField;
}

// A path and the member of that name: neither can be written without the other.
#define TRIREME_KEY(section, name) \
#section "." #name, &at < &Config::section, &decltype(Config::section)::name>

ConfigRule any() {
  return {};
}
ConfigRule required() {
  return {.required = true};
}
ConfigRule between(double low, double high) {
  return {.low = low, .high = high};
}
ConfigRule above(double low) {
  return {.low = low, .low_excluded = true};
}
ConfigRule at_least(double low) {
  return {.low = low};
}
ConfigRule count(double low, double high) {
  return {.low = low, .high = high, .ceiling = true};
}
ConfigRule share() {
  return {.low = 0, .high = 1, .high_excluded = true};
}
// The names of a choice of the model's.
template <typename Choice>
ConfigRule one_of() {
  return {.choices = {kNamesOf<Choice>.begin(), kNamesOf<Choice>.end()}};
}
ConfigRule one_of(std::vector<std::string_view> choices) {
  return {.choices = std::move(choices)};
}

// Bounds that no sensible run meets, so that products of sizes stay far from overflow.
constexpr double kMostSteps = 1e12;
constexpr double kMostTokens = 1e12;
constexpr double kLargestWidth = 1 << 20;
constexpr double kLongestContext = 1 << 24;

std::vector<ConfigKey> make_keys() {
  return {
      {TRIREME_KEY(run, directory), required(),
       "Folder of the run, made if missing: resolved config, metrics, checkpoints, report."},
      {TRIREME_KEY(run, seed), at_least(0),
       "Decides initial values, the order of the data and dropout; the same seed gives the same run."},
      {TRIREME_KEY(run, threads), between(0, 4096),
       "CPU threads of each rank; 0 divides the node's cores among its ranks."},
      {TRIREME_KEY(run, device), one_of({"cpu", "cuda"}),
       "Where ranks compute; cuda takes one GPU for each.  A run may go on with the other."},
      {TRIREME_KEY(run, cuda_graph), any(),
       "Tell a GPU all of a step at once: faster where kernels are short, as of small models.  Takes "
       "run.device = \"cuda\"."},
      {TRIREME_KEY(run, attention), one_of({"trireme", "cudnn", "auto"}),
       "Whose attention a GPU trains with; cudnn takes train.dtype = \"bfloat16\", and what it has no kernel "
       "for (dropout, windows, ALiBi, documents) is still done by ours.  auto tries both in the first step, "
       "where GPUs are Hopper's or later, and takes the quicker; an encoder_decoder, whose batches are of many "
       "shapes, keeps ours."},

      {TRIREME_KEY(data, path), required(), "Folder of shards that `trireme prepare` wrote."},
      {TRIREME_KEY(data, documents), one_of({"joined", "separate"}),
       "Whether a sequence of text is one, or attention stays inside each of its documents and positions "
       "begin "
       "anew with each."},
      {TRIREME_KEY(data, prefetch), between(1, 1024), "Microbatches read ahead of the one being computed."},

      {TRIREME_KEY(model, kind), one_of<ModelKind>(),
       "What it learns: to go on with a text (decoder), to translate, from a data set of pairs "
       "(encoder_decoder), or to fill in masked words (encoder)."},
      {TRIREME_KEY(model, layers), count(1, 10000),
       "Transformer blocks, one upon the other; of the decoder."},
      {TRIREME_KEY(model, encoder_layers), count(0, 10000),
       "Blocks of the encoder of an encoder_decoder; 0 stands for model.layers."},
      {TRIREME_KEY(model, width), count(1, kLargestWidth),
       "Numbers that represent a token between blocks; a multiple of model.heads."},
      {TRIREME_KEY(model, heads), count(1, 65536), "Attention heads of a block."},
      {TRIREME_KEY(model, kv_heads), count(0, 65536),
       "Heads of keys and values, which as many query heads share each; 0 stands for model.heads."},
      {TRIREME_KEY(model, head_width), count(0, kLargestWidth),
       "Numbers of a head's query; 0 stands for model.width / model.heads."},
      {TRIREME_KEY(model, feed_forward), count(0, 16 * kLargestWidth),
       "Hidden width of a block's feed-forward network; 0 stands for four times model.width, or as many "
       "weights "
       "where the activation is gated."},
      {TRIREME_KEY(model, loops), count(1, 10000),
       "How often the blocks are applied, one after the other with the same weights; of both stacks of an "
       "encoder_decoder."},
      {TRIREME_KEY(model, halting), any(),
       "Let each position decide after how many loops it is done, model.loops at most."},
      {TRIREME_KEY(model, halting_threshold), share(),
       "A position is done when the halting probabilities of its loops add up to more than this."},
      {TRIREME_KEY(model, context), count(1, kLongestContext),
       "Tokens of a training sequence, and the most that the model can look back on; of an encoder_decoder, "
       "the longest sentence with its end."},
      {TRIREME_KEY(model, vocabulary), count(0, 1 << 24),
       "Tokens that the model has rows for; 0 stands for as many as the data set's tokenizer has, which is "
       "the least."},
      {TRIREME_KEY(model, norm), one_of<NormKind>(), "Normalisation: LayerNorm or RMSNorm."},
      {TRIREME_KEY(model, norm_placement), one_of<NormPlacement>(),
       "Normalise what enters a layer (pre), or the sum that leaves it (post)."},
      {TRIREME_KEY(model, norm_epsilon), above(0), "Added to the variance when normalising."},
      {TRIREME_KEY(model, activation), one_of<FeedForward>(),
       "Of the feed-forward network; in swiglu and geglu one half of the hidden units gates the other."},
      {TRIREME_KEY(model, biases), one_of<Biases>(),
       "Which linear layers add one: all, only the projection to queries, keys and values, or none."},
      {TRIREME_KEY(model, positions), one_of<Positions>(), "How the model knows where a token stands."},
      {TRIREME_KEY(model, rope_theta), above(1), "Base of the wave lengths under positions rope."},
      {TRIREME_KEY(model, cross_positions), any(),
       "Rope also in the attention of an encoder_decoder to its source: it can learn to look as far on in "
       "the "
       "source as it stands in the target, at lengths that it has not seen, too."},
      {TRIREME_KEY(model, rope_scaling), one_of<RopeScaling>(),
       "How rope's wave lengths are stretched for a context longer than that of an earlier training."},
      {TRIREME_KEY(model, rope_factor), at_least(1), "How many times as long they become, at most."},
      {TRIREME_KEY(model, rope_original_context), count(0, kLongestContext),
       "Context of the earlier training; llama3 and yarn tell the wave lengths by it that stay as they are."},
      {TRIREME_KEY(model, rope_low_frequency_factor), above(0),
       "llama3: what turns at most so often over the original context is stretched in full."},
      {TRIREME_KEY(model, rope_high_frequency_factor), above(0),
       "llama3: what turns at least so often over it is not stretched."},
      {TRIREME_KEY(model, rope_beta_fast), above(0),
       "yarn: what turns at least so often over the original context is not stretched."},
      {TRIREME_KEY(model, rope_beta_slow), above(0),
       "yarn: what turns at most so often over it is stretched in full."},
      {TRIREME_KEY(model, rope_attention_factor), at_least(0),
       "yarn: by which queries and keys are multiplied; 0 stands for 0.1 ln(model.rope_factor) + 1."},
      {TRIREME_KEY(model, window), count(0, kLongestContext),
       "Positions that a token can attend to, itself and those before, in an encoder as many behind; 0 is no "
       "limit."},
      {TRIREME_KEY(model, tied_embeddings), any(), "One table for the tokens that come in and go out."},
      {TRIREME_KEY(model, tied_source_embedding), any(),
       "One table for the tokens of sources and targets, in an encoder_decoder."},
      {TRIREME_KEY(model, embedding_norm), any(), "Normalise the sum of a token's embeddings, as BERT does."},
      {TRIREME_KEY(model, token_types), count(0, 65536),
       "Types that a token of an encoder may have, each with an embedding, such as BERT's two segments; a "
       "text is of type 0."},
      {TRIREME_KEY(model, output_transform), any(),
       "A dense layer, its activation and a norm before the output layer of an encoder, as in BERT."},
      {TRIREME_KEY(model, output_bias), any(), "The output layer adds a bias for each token."},
      {TRIREME_KEY(model, dropout), share(),
       "Share of activations dropped at random in training: of embeddings and what each layer adds."},
      {TRIREME_KEY(model, attention_dropout), between(-1, 1),
       "The same of attention's weights; -1 stands for model.dropout."},
      {TRIREME_KEY(model, init_stddev), above(0), "Standard deviation of the initial weights."},

      {TRIREME_KEY(optim, learning_rate), above(0), "Highest learning rate, reached when the warm-up ends."},
      {TRIREME_KEY(optim, min_learning_rate), at_least(0),
       "Learning rate at the last step under schedules cosine and linear."},
      {TRIREME_KEY(optim, schedule), one_of({"cosine", "linear", "constant", "inverse_sqrt"}),
       "Course of the learning rate after the warm-up."},
      {TRIREME_KEY(optim, warmup_steps), count(0, kMostSteps),
       "Steps over which the learning rate rises from 0 in a straight line."},
      {TRIREME_KEY(optim, beta1), share(), "AdamW: decay of the mean of gradients."},
      {TRIREME_KEY(optim, beta2), share(), "AdamW: decay of the mean of squared gradients."},
      {TRIREME_KEY(optim, epsilon), above(0), "AdamW: added to the denominator."},
      {TRIREME_KEY(optim, weight_decay), at_least(0),
       "AdamW: decoupled decay of matrices; biases and norms are never decayed."},
      {TRIREME_KEY(optim, grad_clip), at_least(0),
       "Largest norm of the whole gradient, which is scaled down to it; 0 does not clip."},

      {TRIREME_KEY(train, init_from), any(),
       "A checkpoint, or a run for its newest, whose parameters a new run begins with (fine-tuning), of the "
       "same "
       "[model]; empty draws them by run.seed."},
      {TRIREME_KEY(train, steps), count(1, kMostSteps), "Optimizer steps of the run."},
      {TRIREME_KEY(train, batch_sequences), count(0, kMostTokens),
       "Sequences per step, of all ranks together; set this or train.batch_tokens."},
      {TRIREME_KEY(train, batch_tokens), count(0, kMostTokens),
       "The same counted in tokens; a multiple of model.context.  Of pairs, the most on the longer side, "
       "with "
       "padding."},
      {TRIREME_KEY(train, microbatch_sequences), count(1, 1 << 20),
       "Sequences that a rank computes at once; more need more memory, and change no result."},
      {TRIREME_KEY(train, microbatch_tokens), count(0, kMostTokens),
       "Tokens of pairs that a rank computes at once, on the longer side, with padding; 0 stands for "
       "train.batch_tokens."},
      {TRIREME_KEY(train, dtype), one_of({"float32", "bfloat16"}),
       "What passes compute in; bfloat16 takes run.device = \"cuda\".  Values, their gradients, the "
       "optimizer's state and "
       "checkpoints are float32 in both."},
      {TRIREME_KEY(train, recompute), one_of({"none", "selective", "full"}),
       "Activations that backward makes again instead of keeping them: what is cheap, or all of a block but "
       "its "
       "input; changes no result."},
      {TRIREME_KEY(train, label_smoothing), share(),
       "Share of the target's probability that goes to all tokens alike in training; validation is without."},
      {TRIREME_KEY(train, ponder_cost), at_least(0),
       "Under model.halting, added to the training loss for each loop of a token, and for what its "
       "probabilities leave to its last."},
      {TRIREME_KEY(train, mask_probability), between(0, 1),
       "Share of a sequence's tokens that an encoder predicts, at least one: of each ten 8 are masked, one "
       "is another token, one stays."},
      {TRIREME_KEY(train, on_nonfinite), one_of({"stop", "skip"}),
       "What a loss or gradient of NaN or Inf does: stop the run, or skip that step and count it."},
      {TRIREME_KEY(train, log_every), count(1, kMostSteps), "Steps between two lines of metrics."},
      {TRIREME_KEY(train, eval_every), count(0, kMostSteps),
       "Steps between two validations; 0 validates only at the end."},
      {TRIREME_KEY(train, eval_sequences), count(1, kMostTokens),
       "Sequences, or pairs, of the validation split that a validation reads."},
      {TRIREME_KEY(train, eval_translations), count(0, kMostTokens),
       "Pairs of it that a validation translates, for the BLEU of an encoder_decoder; 0 translates none."},
      {TRIREME_KEY(train, eval_attention), count(0, 1 << 20),
       "Sequences, or pairs, of it by which a validation measures how far the attention of each head is "
       "spread, in nats of entropy; 0 measures none."},

      {TRIREME_KEY(checkpoint, every), count(0, kMostSteps),
       "Steps between two checkpoints; 0 saves only at the end and on a signal."},
      {TRIREME_KEY(checkpoint, keep_last), count(1, 1e6), "Newest checkpoints that are kept."},
      {TRIREME_KEY(checkpoint, keep_every), count(0, kMostSteps),
       "Checkpoints at multiples of this many steps are kept too; 0 keeps none of them."},
      {TRIREME_KEY(checkpoint, resume), any(),
       "Go on from the newest valid checkpoint in run.directory, if there is one."},

      {TRIREME_KEY(parallel, data), count(0, 1 << 20),
       "Replicas of the model that share a batch among them; 0 takes all ranks that remain."},
      {TRIREME_KEY(parallel, tensor), count(0, 1 << 20),
       "Ranks that share each layer's heads, hidden units and tokens, and the rows between layers; 0 takes "
       "all "
       "ranks that remain."},
      {TRIREME_KEY(parallel, pipeline), count(0, 1 << 20),
       "Stages of a pipeline, each with some of the layers; 0 takes all ranks that remain."},
      {TRIREME_KEY(parallel, schedule), one_of({"gpipe", "1f1b", "interleaved", "zero_bubble"}),
       "Order in which a stage passes microbatches forward and backward."},
      {TRIREME_KEY(parallel, chunks), count(1, 10000),
       "Parts of the model that each stage has: 2 or more under schedule interleaved."},
      {TRIREME_KEY(parallel, pipeline_layers), any(),
       "Layers of each part of the model, in order, as in \"4,4,3\", an encoder's first; empty shares them "
       "by "
       "cost."},
      {TRIREME_KEY(parallel, bucket_mib), between(1e-3, 65536),
       "Gradients summed over ranks at a time, in MiB; the sum of one overlaps computing the next."},
      {TRIREME_KEY(parallel, gradient_dtype), one_of({"float32", "bfloat16"}),
       "Type in which gradients travel between ranks; bfloat16 halves the bytes and rounds what each sends "
       "and the sum."},
      {TRIREME_KEY(parallel, zero), between(0, 3),
       "What replicas share among them instead of each having all: 1 the optimizer's state, of which in "
       "bfloat16 the float32 values are a part, 2 gradients, too, 3 also parameters while they aren't used; "
       "0 nothing."},
  };
}
#undef TRIREME_KEY

std::string number(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

}  // namespace

std::string ConfigRule::words() const {
  if (required) return "not empty";
  if (!choices.empty()) {
    std::string text = "one of ";
    for (const auto choice : choices) text.append(text.size() > 7 ? ", " : "").append(choice);
    return text;
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (low > -kInfinity && high < kInfinity && !ceiling) {
    return "from " + number(low) + (high_excluded ? " to below " : " to ") + number(high);
  }
  if (low > -kInfinity) return (low_excluded ? "above " : "at least ") + number(low);
  return "";
}

const std::vector<ConfigKey>& config_keys() {
  static const std::vector<ConfigKey> keys = make_keys();
  return keys;
}

const ConfigKey& config_key(std::string_view path) {
  const auto& keys = config_keys();
  const auto found =
      std::find_if(keys.begin(), keys.end(), [&](const auto& key) { return key.path == path; });
  CHECK(found != keys.end()) << path;
  return *found;
}

const std::vector<ConfigSection>& config_sections() {
  static const std::vector<ConfigSection> sections = {
      {"run", "This run."},
      {"data", "What it learns from."},
      {"model", "A Transformer; the defaults give GPT-2's shape."},
      {"optim", "AdamW and the learning rate."},
      {"train", "Steps, batches and what is logged."},
      {"checkpoint", "What lets a run go on after an interruption."},
      {"parallel", "How ranks share the work."},
  };
  return sections;
}

}  // namespace trireme
