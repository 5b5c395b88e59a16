#include "trainer/config_checks.h"

#include <algorithm>
#include <cstdint>

#include "data/user_error.h"
#include "trainer/config_text.h"

namespace trireme {
namespace {

// The largest divisor of `x` that is not above `most`.
std::int64_t largest_divisor(std::int64_t x, std::int64_t most) {
  while (x % most != 0) --most;
  return most;
}

class Checks {
 public:
  Checks(const Config& config, const WhereWritten& where) : config_(config), where_(where) {}

  void all() const {
    check_batch();
    check_model();
    check_optim();
    check_checkpoint();
  }

 private:
  std::string where(const ConfigPaths& paths) const { return where_(paths); }

  void check_batch() const {
    if (translates()) {
      check_batch_of_pairs();
    } else {
      check_batch_of_text();
    }
  }

  bool translates() const { return config_.model.kind == "encoder_decoder"; }

  void check_batch_of_pairs() const {
    const TrainConfig& train = config_.train;
    if (config_.data.documents != "joined") {
      throw UserError(where({"data.documents"}),
                      "data.documents = " + toml_value(config_.data.documents) +
                          " is of text, not of pairs of sentences, which are apart anyway",
                      "leave it out");
    }
    if (train.batch_sequences > 0) {
      throw UserError(where({"train.batch_sequences"}),
                      "train.batch_sequences counts sequences of text, not pairs of sentences",
                      "set train.batch_tokens instead");
    }
    if (train.batch_tokens == 0) {
      throw UserError(where({"train.batch_tokens"}), "the global batch is not set", "set train.batch_tokens");
    }
  }

  void check_batch_of_text() const {
    const TrainConfig& train = config_.train;
    if (train.microbatch_tokens > 0) {
      throw UserError(where({"train.microbatch_tokens"}),
                      "train.microbatch_tokens is of pairs of sentences, not of text",
                      "set train.microbatch_sequences instead");
    }
    if (train.batch_sequences == 0 && train.batch_tokens == 0) {
      throw UserError(where({"train.batch_sequences", "train.batch_tokens"}), "the global batch is not set",
                      "set train.batch_sequences or train.batch_tokens");
    }
    if (train.batch_sequences > 0 && train.batch_tokens > 0) {
      throw UserError(where({"train.batch_tokens"}),
                      "train.batch_tokens and train.batch_sequences are both set",
                      "set one of them, and the other to 0");
    }
    const std::int64_t context = config_.model.context;
    if (train.batch_tokens % context != 0) {
      const std::int64_t below = train.batch_tokens / context * context;
      throw UserError(where({"train.batch_tokens", "model.context"}),
                      "train.batch_tokens = " + std::to_string(train.batch_tokens) +
                          " is not a multiple of model.context = " + std::to_string(context),
                      "for example " + std::to_string(below > 0 ? below : context));
    }
    const std::int64_t sequences = batch_sequences(config_);
    if (config_.parallel.data > sequences) {
      throw UserError(where({"parallel.data", "train.batch_sequences", "train.batch_tokens"}),
                      "parallel.data = " + std::to_string(config_.parallel.data) +
                          " replicas share a batch of " + std::to_string(sequences) + " sequences",
                      "use at most a replica per sequence, or a larger batch");
    }
  }

  void check_model() const {
    const ModelConfig& model = config_.model;
    check_dropout();
    check_rope_scaling();
    if (model.halting && model.loops == 1) {
      throw UserError(where({"model.halting", "model.loops"}),
                      "model.halting is set, but there is one loop, after which every position halts",
                      "set model.loops to the most that a position may take");
    }
    if (!translates() && model.encoder_layers > 0) {
      throw UserError(where({"model.encoder_layers"}),
                      "model.encoder_layers is set, but model.kind is \"" + model.kind + "\"",
                      "set model.layers, or model.kind = \"encoder_decoder\"");
    }
    check_encoder();
    if (model.head_width == 0 && model.width % model.heads != 0) {
      throw UserError(
          where({"model.heads", "model.width"}),
          "model.width = " + std::to_string(model.width) +
              " is not a multiple of model.heads = " + std::to_string(model.heads),
          "for example model.heads = " + std::to_string(largest_divisor(model.width, model.heads)));
    }
    if (model.kv_heads > 0 && model.heads % model.kv_heads != 0) {
      throw UserError(
          where({"model.kv_heads", "model.heads"}),
          "model.heads = " + std::to_string(model.heads) +
              " is not a multiple of model.kv_heads = " + std::to_string(model.kv_heads),
          "for example model.kv_heads = " +
              std::to_string(largest_divisor(model.heads, std::min(model.kv_heads, model.heads))));
    }
    if (model.cross_positions && !(translates() && model.positions == "rope")) {
      throw UserError(where({"model.cross_positions", "model.positions", "model.kind"}),
                      "model.cross_positions is of an encoder_decoder with positions rope",
                      "set both, or leave it out");
    }
    const std::int64_t head_width = model.head_width > 0 ? model.head_width : model.width / model.heads;
    if (model.positions == "rope" && head_width % 2 != 0) {
      throw UserError(where({"model.positions", "model.head_width", "model.heads"}),
                      "positions rope turns pairs of numbers, and a head has " + std::to_string(head_width),
                      "set model.head_width to an even number");
    }
  }

  void check_rope_scaling() const {
    const ModelConfig& model = config_.model;
    const std::string& scaling = model.rope_scaling;
    const bool llama3 = scaling == "llama3", yarn = scaling == "yarn";
    if (scaling != "none" && model.positions != "rope") {
      throw UserError(where({"model.rope_scaling"}),
                      "rope_scaling " + scaling + " is of positions rope, not of " + model.positions,
                      "set model.positions = \"rope\"");
    }
    check_idle_rope_keys(scaling == "none", llama3, yarn);
    if (scaling == "none") return;

    if (model.rope_factor == 1.0) {
      throw UserError(where({"model.rope_factor", "model.rope_scaling"}),
                      "rope_scaling " + scaling + " by a factor of 1 changes nothing",
                      "set model.rope_factor, or model.rope_scaling = \"none\"");
    }
    if ((llama3 || yarn) && model.rope_original_context == 0) {
      throw UserError(where({"model.rope_original_context", "model.rope_scaling"}),
                      "rope_scaling " + scaling + " asks for the context of the earlier training",
                      "set model.rope_original_context");
    }
    check_rope_bounds(llama3, "model.rope_low_frequency_factor", model.rope_low_frequency_factor,
                      "model.rope_high_frequency_factor", model.rope_high_frequency_factor);
    check_rope_bounds(yarn, "model.rope_beta_slow", model.rope_beta_slow, "model.rope_beta_fast",
                      model.rope_beta_fast);
  }

  // A key that the model's scaling doesn't read was set by mistake.
  void check_idle_rope_keys(bool none, bool llama3, bool yarn) const {
    const ModelConfig& model = config_.model;
    const ModelConfig defaults;
    const struct {
      std::string_view path;
      bool is_set;
      std::string_view remedy;
    } idle[] = {
        {"model.rope_factor", none && model.rope_factor != defaults.rope_factor,
         "linear, llama3 and yarn read"},
        {"model.rope_original_context", !llama3 && !yarn && model.rope_original_context > 0,
         "llama3 and yarn read"},
        {"model.rope_low_frequency_factor",
         !llama3 && model.rope_low_frequency_factor != defaults.rope_low_frequency_factor, "llama3 reads"},
        {"model.rope_high_frequency_factor",
         !llama3 && model.rope_high_frequency_factor != defaults.rope_high_frequency_factor, "llama3 reads"},
        {"model.rope_beta_fast", !yarn && model.rope_beta_fast != defaults.rope_beta_fast, "yarn reads"},
        {"model.rope_beta_slow", !yarn && model.rope_beta_slow != defaults.rope_beta_slow, "yarn reads"},
        {"model.rope_attention_factor", !yarn && model.rope_attention_factor > 0.0, "yarn reads"},
    };
    for (const auto& key : idle) {
      if (!key.is_set) continue;
      throw UserError(where({key.path}),
                      std::string(key.path) + " is set, but model.rope_scaling is " + model.rope_scaling,
                      "only " + std::string(key.remedy) + " it");
    }
  }

  void check_rope_bounds(bool used, std::string_view low_path, double low, std::string_view high_path,
                         double high) const {
    if (!used || low < high) return;
    throw UserError(where({low_path, high_path}),
                    std::string(low_path) + " = " + toml_value(low) + " is not below " +
                        std::string(high_path) + " = " + toml_value(high),
                    "");
  }

  // What an encoder alone can have.
  void check_encoder() const {
    const ModelConfig& model = config_.model;
    if (model.kind == "encoder") return;
    const auto refuse = [&](const char* path) {
      throw UserError(where({path}), std::string(path) + " is set, but model.kind is \"" + model.kind + "\"",
                      "only an encoder has it");
    };
    if (model.token_types > 0) refuse("model.token_types");
    if (model.output_transform) refuse("model.output_transform");
  }

  void check_dropout() const {
    const ModelConfig& model = config_.model;
    if (model.attention_dropout < 0.0 && model.attention_dropout != -1.0) {
      throw UserError(where({"model.attention_dropout"}),
                      "model.attention_dropout = " + toml_value(model.attention_dropout) + " is below 0",
                      "only -1 is, and stands for model.dropout");
    }
    // Masks of sentences of any length begin at multiples of 4.
    if (translates() && model.dropout > 0.0 && model.width % 4 != 0) {
      throw UserError(where({"model.width"}),
                      "model.width = " + std::to_string(model.width) +
                          " is not a multiple of 4, which dropout in an encoder_decoder asks for",
                      "for example model.width = " + std::to_string((model.width + 3) / 4 * 4));
    }
  }

  void check_optim() const {
    const OptimConfig& optim = config_.optim;
    if (optim.warmup_steps > config_.train.steps) {
      throw UserError(where({"optim.warmup_steps", "train.steps"}),
                      "optim.warmup_steps = " + std::to_string(optim.warmup_steps) +
                          " is more than train.steps = " + std::to_string(config_.train.steps),
                      "warm up for fewer steps, or train for more");
    }
    if (optim.min_learning_rate > optim.learning_rate) {
      throw UserError(where({"optim.min_learning_rate", "optim.learning_rate"}),
                      "optim.min_learning_rate = " + toml_value(optim.min_learning_rate) +
                          " is above optim.learning_rate = " + toml_value(optim.learning_rate),
                      "");
    }
    if (optim.schedule == "inverse_sqrt" && optim.warmup_steps == 0) {
      throw UserError(where({"optim.schedule"}),
                      "schedule inverse_sqrt falls from the end of a warm-up, and there is none",
                      "set optim.warmup_steps");
    }
  }

  void check_checkpoint() const {
    const CheckpointConfig& checkpoint = config_.checkpoint;
    if (checkpoint.every == 0 || checkpoint.keep_every % checkpoint.every == 0) return;
    throw UserError(where({"checkpoint.keep_every", "checkpoint.every"}),
                    "checkpoint.keep_every = " + std::to_string(checkpoint.keep_every) +
                        " is not a multiple of checkpoint.every = " + std::to_string(checkpoint.every),
                    "those at other steps are never saved");
  }

  const Config& config_;
  const WhereWritten& where_;
};

}  // namespace

void check_together(const Config& config, const WhereWritten& where) {
  Checks(config, where).all();
}

}  // namespace trireme
