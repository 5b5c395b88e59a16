// What a run is told: the keys of its TOML file.
//
// A key is the path of a member: `optim.learning_rate`.  Its type and default stand here; its allowed values
// and a sentence about it in config_keys.cpp, from which configs/reference.toml and the help are printed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/attention.h"
#include "kernels/dtype.h"

namespace trireme {

struct RunConfig {
  std::string directory;              // everything that the run writes; required
  std::int64_t seed = 0;              // initial values, order of the data, dropout
  std::int64_t threads = 0;           // CPU threads per rank; 0: the node's cores divided among its ranks
  std::string device = "cpu";         // cpu | cuda
  bool cuda_graph = false;            // of a step
  std::string attention = "trireme";  // trireme | cudnn | auto
};

struct DataConfig {
  std::string path;                  // folder that `trireme prepare` wrote; required
  std::string documents = "joined";  // joined | separate
  std::int64_t prefetch = 4;         // microbatches read ahead
};

struct ModelConfig {
  std::string kind = "decoder";  // decoder | encoder_decoder | encoder
  std::int64_t layers = 12;
  std::int64_t encoder_layers = 0;  // of an encoder-decoder; 0: as many as layers
  std::int64_t width = 768;
  std::int64_t heads = 12;
  std::int64_t kv_heads = 0;      // 0: as many as heads
  std::int64_t head_width = 0;    // 0: width / heads
  std::int64_t feed_forward = 0;  // 0: four times the width; of a gated activation, as many weights
  std::int64_t loops = 1;         // how often each stack is applied
  bool halting = false;           // each position decides how often
  double halting_threshold = 0.99;
  std::int64_t context = 1024;  // tokens per sequence, and learned positions
  std::int64_t vocabulary = 0;  // tokens that the tables have rows for; 0: those of the data set's tokenizer
  std::string norm = "layer";
  std::string norm_placement = "pre";
  double norm_epsilon = 1e-5;
  std::string activation = "gelu_tanh";
  std::string biases = "all";
  std::string positions = "learned";
  double rope_theta = 10000.0;
  bool cross_positions = false;       // of an encoder-decoder, under rope
  std::string rope_scaling = "none";  // none | linear | llama3 | yarn
  double rope_factor = 1.0;
  std::int64_t rope_original_context = 0;   // of llama3 and yarn
  double rope_low_frequency_factor = 1.0;   // of llama3
  double rope_high_frequency_factor = 4.0;  // of llama3
  double rope_beta_fast = 32.0;             // of yarn
  double rope_beta_slow = 1.0;              // of yarn
  double rope_attention_factor = 0.0;       // of yarn; 0: 0.1 ln rope_factor + 1
  std::int64_t window = 0;                  // of attention; 0: all positions
  bool tied_embeddings = true;
  bool tied_source_embedding = true;  // of an encoder-decoder
  bool embedding_norm = false;
  std::int64_t token_types = 0;   // of an encoder; 0: none
  bool output_transform = false;  // of an encoder
  bool output_bias = false;
  double dropout = 0.0;
  double attention_dropout = -1.0;  // -1: as dropout
  double init_stddev = 0.02;
};

struct OptimConfig {
  double learning_rate = 6e-4;
  double min_learning_rate = 0.0;   // where cosine and linear end
  std::string schedule = "cosine";  // cosine | linear | constant | inverse_sqrt
  std::int64_t warmup_steps = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
  double grad_clip = 1.0;  // largest global norm of the gradient; 0: no clipping
};

struct TrainConfig {
  std::string
      init_from;  // a checkpoint, or a run, whose parameters are the first values; empty: drawn by the seed
  std::int64_t steps = 1000;
  std::int64_t batch_sequences = 0;  // global batch; exactly one of the two is set
  std::int64_t batch_tokens = 0;
  std::int64_t microbatch_sequences = 4;  // sequences a rank computes at once
  std::int64_t microbatch_tokens = 0;     // the same of pairs; 0: batch_tokens
  std::string dtype = "float32";          // in which passes compute: float32 | bfloat16
  std::string recompute = "none";         // activations that backward makes again: none | selective | full
  double label_smoothing = 0.0;
  double ponder_cost = 0.01;          // of model.halting
  double mask_probability = 0.15;     // of an encoder: share of the tokens that it predicts
  std::string on_nonfinite = "stop";  // stop | skip
  std::int64_t log_every = 10;
  std::int64_t eval_every = 100;       // 0: only at the end
  std::int64_t eval_sequences = 64;    // of the validation split
  std::int64_t eval_translations = 0;  // pairs of it, for their BLEU
  std::int64_t eval_attention = 0;     // sequences of it, for the entropy of their attention
};

struct CheckpointConfig {
  std::int64_t every = 100;  // steps; 0: only at the end and on a signal
  std::int64_t keep_last = 2;
  std::int64_t keep_every = 0;  // also keep those at multiples of this many steps; 0: none
  bool resume = true;           // go on from the newest valid one in the run's directory
};

struct ParallelConfig {
  std::int64_t data = 0;                   // 0: all ranks that remain
  std::int64_t tensor = 1;                 // ranks that share each layer; 0: all that remain
  std::int64_t pipeline = 1;               // stages that share the layers; 0: all that remain
  std::string schedule = "1f1b";           // gpipe | 1f1b | interleaved | zero_bubble
  std::int64_t chunks = 1;                 // parts of the model on each stage, under interleaved
  std::string pipeline_layers;             // of each part: "4,4,3"; empty: shared by cost
  double bucket_mib = 25.0;                // gradients summed at a time
  std::string gradient_dtype = "float32";  // float32 | bfloat16
  std::int64_t zero = 0;                   // 0 | 1 | 2 | 3: what data ranks share among them
};

struct Config {
  RunConfig run;
  DataConfig data;
  ModelConfig model;
  OptimConfig optim;
  TrainConfig train;
  CheckpointConfig checkpoint;
  ParallelConfig parallel;
};

// Reads a file, then applies `key=value` overrides in order, then checks every value, alone and together. The
// text after `=` is TOML, or for a key that holds text also the bare text.  A key of an override may come
// without its section where no other section has one of that name: device=cuda.  Throws UserError naming the
// file and line (or the override), the key and, for an unknown one, the nearest that exists.
Config load_config(const std::string& path, const std::vector<std::string>& overrides);

// The same of text that is at hand; errors call it `name`.
Config parse_config(std::string_view text, const std::string& name,
                    const std::vector<std::string>& overrides);

// Of train.dtype.
DType dtype_of(const TrainConfig& config);
// Of run.attention.
AttentionLibrary attention_of(const Config& config);

// The global batch of a decoder, however it was given.
std::int64_t batch_sequences(const Config& config);

// The config as TOML that load_config reads back to the same values.
std::string to_toml(const Config& config);

// configs/reference.toml: every key with its default, allowed values and what it does.
std::string reference_toml();

// The same, in fewer words, for a terminal.
std::string config_help();

}  // namespace trireme
