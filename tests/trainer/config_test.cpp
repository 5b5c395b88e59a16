#include "trainer/config.h"

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "data/user_error.h"
#include "trainer/config_keys.h"

namespace trireme {
namespace {

// The least that is a config: 3 lines.
const char* const kLeast = "run.directory = \"r\"\ndata.path = \"d\"\ntrain.batch_sequences = 8\n";

// What the user is told about this config.
std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse_config(text, "run.toml", overrides);
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

std::string error_beside_least(const std::string& line) {
  return error_of(kLeast + line);
}

std::string read_file(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::filesystem::path recipes() {
  return std::filesystem::path(TRIREME_SOURCE_DIR) / "configs";
}

TEST(Config, DefaultsHoldForWhatIsNotSet) {
  const Config config = parse_config(kLeast, "run.toml", {});
  EXPECT_EQ(config.run.directory, "r");
  EXPECT_EQ(config.train.batch_sequences, 8);
  Config expected;
  expected.run.directory = "r";
  expected.data.path = "d";
  expected.train.batch_sequences = 8;
  EXPECT_EQ(to_toml(config), to_toml(expected));
}

TEST(Config, ReadsEveryType) {
  const Config config = parse_config(
      "[run]\ndirectory = 'a b\"c'\n[data]\npath = \"d\\u00e9\"\n[train]\nbatch_tokens = 4_096\n"
      "on_nonfinite = \"skip\"\n[checkpoint]\nresume = false\n[optim]\nlearning_rate = 1\nbeta2 = 9.9e-1\n",
      "run.toml", {});
  EXPECT_EQ(config.run.directory, "a b\"c");
  EXPECT_EQ(config.data.path, "d\xc3\xa9");
  EXPECT_EQ(config.train.batch_tokens, 4096);
  EXPECT_EQ(config.train.on_nonfinite, "skip");
  EXPECT_FALSE(config.checkpoint.resume);
  EXPECT_EQ(config.optim.learning_rate, 1.0);
  EXPECT_EQ(config.optim.beta2, 0.99);
}

TEST(Config, ResolvedTextReadsBackToTheSame) {
  Config config = parse_config(kLeast, "run.toml", {});
  config.run.directory = "tab\t \"quoted\" back\\slash\nline \x01 \xc3\xa9";
  config.run.seed = 9007199254740993;  // not a double
  config.optim.learning_rate = 0.1 + 0.2;
  config.optim.epsilon = 1e-30;
  config.optim.weight_decay = 1e22;
  config.optim.grad_clip = 3;
  config.checkpoint.resume = false;
  const std::string text = to_toml(config);
  const Config again = parse_config(text, "resolved", {});
  EXPECT_EQ(to_toml(again), text);
  EXPECT_EQ(again.run.directory, config.run.directory);
  EXPECT_EQ(again.run.seed, config.run.seed);
  EXPECT_EQ(again.optim.learning_rate, config.optim.learning_rate);
  EXPECT_EQ(again.optim.epsilon, config.optim.epsilon);
  EXPECT_EQ(again.optim.weight_decay, config.optim.weight_decay);
}

TEST(Config, OverridesApplyInOrder) {
  const Config config = parse_config(
      kLeast, "run.toml",
      {"optim.learning_rate=1e-3", "optim.learning_rate=3e-4", "run.directory=runs/my run", "data.path=12",
       "optim.schedule=\"linear\"", "checkpoint.resume=false", "model.layers=3"});
  EXPECT_EQ(config.optim.learning_rate, 3e-4);
  EXPECT_EQ(config.run.directory, "runs/my run");
  EXPECT_EQ(config.data.path, "12");
  EXPECT_EQ(config.optim.schedule, "linear");
  EXPECT_FALSE(config.checkpoint.resume);
  EXPECT_EQ(config.model.layers, 3);
}

TEST(Config, UnknownNamesAreRefusedWithTheNearest) {
  EXPECT_EQ(error_beside_least("optim.learnign_rate = 1"),
            "run.toml:4: unknown key optim.learnign_rate; did you mean optim.learning_rate?");
  EXPECT_EQ(error_beside_least("[optim]\n\nlr = 1"),
            "run.toml:6: unknown key optim.lr; did you mean optim.learning_rate?");
  EXPECT_EQ(error_beside_least("[model]\nlearning_rate = 1"),
            "run.toml:5: unknown key model.learning_rate; did you mean optim.learning_rate?");
  EXPECT_EQ(error_beside_least("dropout = 0.1"),
            "run.toml:4: unknown key dropout; did you mean model.dropout?");
  EXPECT_EQ(error_beside_least("[modle]\nlayers = 1"),
            "run.toml:4: unknown section [modle]; did you mean [model]?");
  EXPECT_EQ(error_beside_least("[checkpoint]\nzzz = 1"),
            "run.toml:5: unknown key checkpoint.zzz; [checkpoint] has every, keep_last, keep_every, resume");
  EXPECT_EQ(
      error_beside_least("[zzzzzz]\nzzz = 1"),
      "run.toml:4: unknown section [zzzzzz]; the sections are run, data, model, optim, train, checkpoint, "
      "parallel");
  EXPECT_EQ(error_beside_least("model.layers.x = 1").rfind("run.toml:4: model.layers must be", 0), 0u);
}

TEST(Config, WrongTypesAndValuesAreRefused) {
  EXPECT_EQ(error_beside_least("model.layers = \"two\""),
            "run.toml:4: model.layers must be a whole number, not \"two\"");
  EXPECT_EQ(error_beside_least("train.steps = 1e4"),
            "run.toml:4: train.steps must be a whole number, not 10000.0; write 10000");
  EXPECT_EQ(error_beside_least("optim.beta1 = true"), "run.toml:4: optim.beta1 must be a number, not true");
  EXPECT_EQ(error_beside_least("optim.beta1 = 1.0"),
            "run.toml:4: optim.beta1 must be from 0 to below 1, not 1.0");
  EXPECT_EQ(error_beside_least("optim.learning_rate = 0"),
            "run.toml:4: optim.learning_rate must be above 0, not 0");
  EXPECT_EQ(error_beside_least("optim.learning_rate = nan"),
            "run.toml:4: optim.learning_rate must be a finite number, not nan");
  EXPECT_EQ(error_beside_least("optim.weight_decay = inf"),
            "run.toml:4: optim.weight_decay must be a finite number, not inf");
  EXPECT_EQ(error_beside_least("optim.schedule = \"cosin\""),
            "run.toml:4: optim.schedule must be one of cosine, linear, constant, inverse_sqrt, not "
            "\"cosin\"; did you "
            "mean \"cosine\"?");
  EXPECT_EQ(error_beside_least("checkpoint.resume = 1"),
            "run.toml:4: checkpoint.resume must be true or false, not 1");
  EXPECT_EQ(error_beside_least("model.width = [1, 2]"),
            "run.toml:4: model.width must be a whole number, not an array");
  EXPECT_EQ(error_beside_least("model.width = 9999999999"),
            "run.toml:4: model.width must be at most 1048576, not 9999999999");
  EXPECT_EQ(error_beside_least("model = 3"), "run.toml:4: model is a section, not a key; write [model]");
  EXPECT_EQ(error_beside_least("[[model]]\nwidth = 8"),
            "run.toml:4: model is a section, not a key; write [model]");
  EXPECT_EQ(error_of("run.directory = \"\""), "run.toml:1: run.directory must be not empty, not \"\"");
  EXPECT_EQ(error_of("run.directory = \"a\\u0000b\"").rfind("run.toml:1: run.directory must be text", 0), 0u);
}

TEST(Config, WhatIsNotTomlIsRefusedWithItsLine) {
  const std::string error = error_beside_least("[model\nlayers = 3");
  EXPECT_EQ(error.rfind("run.toml:4: not TOML: ", 0), 0u) << error;
  EXPECT_EQ(error_beside_least("run.directory = \"again\"").rfind("run.toml:4: not TOML: ", 0), 0u);
}

TEST(Config, ImpossibleCombinationsAreRefused) {
  EXPECT_EQ(error_of("data.path = 'd'"),
            "run.toml: run.directory is not set; write it into the file, or add run.directory=... to the "
            "command line");
  EXPECT_EQ(error_of("run.directory = 'r'\ndata.path = 'd'"),
            "run.toml: the global batch is not set; set train.batch_sequences or train.batch_tokens");
  EXPECT_EQ(error_beside_least("train.batch_tokens = 1024"),
            "run.toml:4: train.batch_tokens and train.batch_sequences are both set; set one of them, and the "
            "other to "
            "0");
  EXPECT_EQ(
      error_of("run.directory = 'r'\ndata.path = 'd'\ntrain.batch_tokens = 3000"),
      "run.toml:3: train.batch_tokens = 3000 is not a multiple of model.context = 1024; for example 2048");
  EXPECT_EQ(
      error_of("run.directory = 'r'\ndata.path = 'd'\ntrain.batch_tokens = 30"),
      "run.toml:3: train.batch_tokens = 30 is not a multiple of model.context = 1024; for example 1024");
  EXPECT_EQ(
      error_beside_least("model.heads = 7"),
      "run.toml:4: model.width = 768 is not a multiple of model.heads = 7; for example model.heads = 6");
  EXPECT_EQ(
      error_beside_least("model.width = 100"),
      "run.toml:4: model.width = 100 is not a multiple of model.heads = 12; for example model.heads = 10");
  EXPECT_EQ(
      error_beside_least("model.kv_heads = 5"),
      "run.toml:4: model.heads = 12 is not a multiple of model.kv_heads = 5; for example model.kv_heads = 4");
  EXPECT_EQ(error_beside_least("model.kv_heads = 24"),
            "run.toml:4: model.heads = 12 is not a multiple of model.kv_heads = 24; for example "
            "model.kv_heads = 12");
  EXPECT_EQ(
      error_beside_least("model.head_width = 33\nmodel.positions = 'rope'"),
      "run.toml:5: positions rope turns pairs of numbers, and a head has 33; set model.head_width to an even "
      "number");
  EXPECT_EQ(
      error_of("[run]\ndirectory = 'r'\n[data]\npath = 'd'\ndocuments = 'separate'\n[model]\n"
               "kind = 'encoder_decoder'\n[train]\nbatch_tokens = 4096"),
      "run.toml:5: data.documents = \"separate\" is of text, not of pairs of sentences, which are apart "
      "anyway; leave it out");
  EXPECT_EQ(error_beside_least("model.rope_scaling = 'linear'"),
            "run.toml:4: rope_scaling linear is of positions rope, not of learned; set model.positions = "
            "\"rope\"");
  EXPECT_EQ(error_beside_least("model.halting = true"),
            "run.toml:4: model.halting is set, but there is one loop, after which every position halts; set "
            "model.loops to the most that a position may take");
  EXPECT_EQ(error_beside_least("model.cross_positions = true\nmodel.positions = 'rope'"),
            "run.toml:4: model.cross_positions is of an encoder_decoder with positions rope; set both, or "
            "leave it out");
  EXPECT_EQ(error_beside_least("train.steps = 10\noptim.warmup_steps = 11"),
            "run.toml:5: optim.warmup_steps = 11 is more than train.steps = 10; warm up for fewer steps, or "
            "train for "
            "more");
  EXPECT_EQ(error_beside_least("model.kind = 'encoder'\nmodel.encoder_layers = 2"),
            "run.toml:5: model.encoder_layers is set, but model.kind is \"encoder\"; set model.layers, or "
            "model.kind = \"encoder_decoder\"");
  EXPECT_EQ(error_beside_least("model.token_types = 2"),
            "run.toml:4: model.token_types is set, but model.kind is \"decoder\"; only an encoder has it");
  EXPECT_EQ(
      error_beside_least("model.output_transform = true"),
      "run.toml:4: model.output_transform is set, but model.kind is \"decoder\"; only an encoder has it");
  EXPECT_EQ(error_beside_least("optim.min_learning_rate = 0.1"),
            "run.toml:4: optim.min_learning_rate = 0.1 is above optim.learning_rate = 6e-4");
  EXPECT_EQ(error_beside_least("optim.schedule = 'inverse_sqrt'").rfind("run.toml:4: ", 0), 0u);
  EXPECT_EQ(
      error_beside_least("checkpoint.keep_every = 150").rfind("run.toml:4: checkpoint.keep_every = 150", 0),
      0u);
  EXPECT_EQ(error_beside_least("parallel.data = 9").rfind("run.toml:4: parallel.data = 9 replicas", 0), 0u);
}

TEST(Config, RopeScalingIsWholeOrRefused) {
  const auto error = [](const std::string& lines) {
    return error_beside_least("[model]\npositions = 'rope'\n" + lines);
  };
  EXPECT_EQ(
      error("rope_factor = 2"),
      "run.toml:6: model.rope_factor is set, but model.rope_scaling is none; only linear, llama3 and yarn "
      "read it");
  EXPECT_EQ(error("rope_scaling = 'yarn'\nrope_factor = 2\nrope_original_context = 9\n"
                  "rope_low_frequency_factor = 2"),
            "run.toml:9: model.rope_low_frequency_factor is set, but model.rope_scaling is yarn; only llama3 "
            "reads it");
  EXPECT_EQ(
      error("rope_scaling = 'linear'\nrope_factor = 2\nrope_original_context = 9"),
      "run.toml:8: model.rope_original_context is set, but model.rope_scaling is linear; only llama3 and "
      "yarn read it");
  EXPECT_EQ(error("rope_scaling = 'llama3'"),
            "run.toml:6: rope_scaling llama3 by a factor of 1 changes nothing; set model.rope_factor, or "
            "model.rope_scaling = \"none\"");
  EXPECT_EQ(error("rope_scaling = 'llama3'\nrope_factor = 8"),
            "run.toml:6: rope_scaling llama3 asks for the context of the earlier training; set "
            "model.rope_original_context");
  EXPECT_EQ(error("rope_scaling = 'llama3'\nrope_factor = 8\nrope_original_context = 9\n"
                  "rope_high_frequency_factor = 1"),
            "run.toml:9: model.rope_low_frequency_factor = 1.0 is not below "
            "model.rope_high_frequency_factor = 1.0");
  EXPECT_EQ(error("rope_scaling = 'yarn'\nrope_factor = 8\nrope_original_context = 9\nrope_beta_slow = 40"),
            "run.toml:9: model.rope_beta_slow = 40.0 is not below model.rope_beta_fast = 32.0");
  EXPECT_EQ(error("rope_scaling = 'yarn'\nrope_factor = 8\nrope_original_context = 9"), "accepted");
}

TEST(Config, OverridesAreRefusedByTheirText) {
  EXPECT_EQ(error_of(kLeast, {"optim.learning_rate=fast"}),
            "command line: optim.learning_rate=fast: optim.learning_rate must be a number, not \"fast\"");
  EXPECT_EQ(error_of(kLeast, {"optim.lr=1"}),
            "command line: optim.lr=1: unknown key optim.lr; did you mean optim.learning_rate?");
  EXPECT_EQ(
      error_of(kLeast, {"optim.learning_rate"}),
      "command line: optim.learning_rate: not of the form key=value; for example optim.learning_rate=3e-4");
  EXPECT_EQ(error_of(kLeast, {"=3"}).rfind("command line: =3: not of the form", 0), 0u);
  EXPECT_EQ(error_of(kLeast, {"model.heads=5"}).rfind("command line: model.heads=5: model.width = 768", 0),
            0u);
  EXPECT_EQ(
      error_of(kLeast, {"run.directory="}).rfind("command line: run.directory=: run.directory must be", 0),
      0u);
  EXPECT_EQ(error_of(kLeast, {"run.directory=\xff"}),
            "command line: run.directory=\xff: the value is not UTF-8");
  // A newline is part of the value, not the start of another key.
  EXPECT_EQ(parse_config(kLeast, "run.toml", {"run.directory=a\nb"}).run.directory, "a\nb");
  EXPECT_EQ(error_of(kLeast, {"model.layers=1\nheads = 2"}).rfind("command line: model.layers=1\\nheads", 0),
            0u);
}

TEST(Config, FilesThatCannotBeReadAreRefused) {
  const auto error = [](const std::string& path) -> std::string {
    try {
      load_config(path, {});
    } catch (const UserError& caught) {
      return caught.what();
    }
    return "accepted";
  };
  const std::string remedy = ": the config file cannot be read; give the path of a TOML file";
  EXPECT_EQ(error("no/such.toml"), "no/such.toml" + remedy);
  EXPECT_EQ(error(recipes().string()), recipes().string() + remedy);
  const auto big = std::filesystem::temp_directory_path() / "trireme_config_test_big.toml";
  std::ofstream(big) << std::string((1 << 20) + 1, '\n');
  EXPECT_EQ(error(big.string()).rfind(big.string() + ": larger than a config file", 0), 0u);
  std::filesystem::remove(big);
}

TEST(Config, BatchesAreCountedInTokensOrSequences) {
  EXPECT_EQ(batch_sequences(parse_config(kLeast, "run.toml", {})), 8);
  const Config config =
      parse_config(kLeast, "run.toml", {"train.batch_sequences=0", "train.batch_tokens=524288"});
  EXPECT_EQ(config.model.context, 1024);
  EXPECT_EQ(batch_sequences(config), 512);
}

TEST(Config, ReferenceIsUpToDateAndHoldsTheDefaults) {
  const std::string text = read_file(recipes() / "reference.toml");
  EXPECT_EQ(text, reference_toml()) << "write it anew: trireme --config-reference > configs/reference.toml";
  Config defaults;
  for (const auto& key : config_keys())
    EXPECT_NE(text.find("\n" + key.name() + " = "), std::string::npos) << key.path;
  // Filled in, it is a config: that of the defaults.
  std::string filled = text;
  const auto replace = [&](const std::string& from, const std::string& to) {
    const auto at = filled.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    filled.replace(at, from.size(), to);
  };
  replace("\ndirectory = \"\"", "\ndirectory = \"r\"");
  replace("\npath = \"\"", "\npath = \"d\"");
  defaults.run.directory = "r";
  defaults.data.path = "d";
  defaults.train.batch_sequences = 8;
  EXPECT_EQ(to_toml(parse_config(filled, "reference", {"train.batch_sequences=8"})), to_toml(defaults));
}

TEST(Config, HelpNamesEveryKey) {
  const std::string text = config_help();
  for (const auto& key : config_keys()) EXPECT_NE(text.find(key.path + " = "), std::string::npos) << key.path;
}

// A config that was torn, spliced, bit-flipped: always a Config or one line of complaint.
TEST(Config, FuzzedTextNeverCrashes) {
  std::vector<std::string> seeds = {kLeast, reference_toml()};
  for (const auto& entry : std::filesystem::directory_iterator(recipes()))
    if (entry.is_regular_file()) seeds.push_back(read_file(entry.path()));
  const std::vector<std::string> scraps = {"[",
                                           "]",
                                           "[[",
                                           "\"",
                                           "'",
                                           "\"\"\"",
                                           "'''",
                                           "=",
                                           "\n",
                                           ".",
                                           "#",
                                           "{",
                                           "}",
                                           ",",
                                           "\\u",
                                           "\xff",
                                           "nan",
                                           "-",
                                           "inf",
                                           "1e999",
                                           "0x",
                                           "99999999999999999999",
                                           "true",
                                           "\r\n",
                                           "\t",
                                           "\xc3",
                                           "1979-05-27T07:32:00Z",
                                           std::string(1, '\0'),
                                           std::string(300, '['),
                                           std::string(300, '{'),
                                           "\"\\U0010FFFF\"",
                                           "=="};
  std::mt19937 random(1);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  int accepted = 0, refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = seeds[below(seeds.size())];
    for (std::size_t edit = 0, edits = 1 + below(6); edit < edits && !text.empty(); ++edit) {
      const std::size_t at = below(text.size());
      switch (below(5)) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + below(20));
          break;
        case 2:
          text.insert(at, scraps[below(scraps.size())]);
          break;
        case 3:
          text.insert(at, text.substr(below(text.size()), below(40)));
          break;
        default:
          text.resize(at);
          break;
      }
    }
    std::vector<std::string> overrides;
    if (round % 4 == 0)
      overrides.push_back(config_keys()[below(config_keys().size())].path + "=" + text.substr(0, below(20)));
    try {
      to_toml(parse_config(text, "fuzz", overrides));
      ++accepted;
    } catch (const UserError& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace trireme
