// One cell of the table of probes: a model on a task, trained by the ordinary Trainer, then asked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/probes/probe.h"
#include "parallel/process.h"
#include "trainer/config.h"
#include "trainer/probes/probe_results.h"
#include "trainer/trainer.h"

namespace trireme {

struct ProbeCell {
  ProbeData data;
  std::string model;  // its name in the table
  Config config;
  std::int64_t tests = 1000;  // questions of each length
};

// Lengths that a model is asked for: n, 2n and 4n.
std::vector<std::int64_t> probe_lengths(const ProbeData& data);

// The cell of a model's config file, whose name is the model's.  Whatever the file and the overrides say,
// run.directory and data.path lie below `output`, model.context holds the longest question, and run.seed is
// the data's.  Throws what load_config does, and the UserError for a model that is no encoder_decoder.
ProbeCell make_probe_cell(const std::filesystem::path& config_file, const std::vector<std::string>& overrides,
                          const ProbeData& data, std::int64_t tests, const std::filesystem::path& output);

// Throws the UserError for a run that was begun with another config.
void check_same_config(const ProbeCell& cell);

// Makes the task's data if they aren't there, and trains, or goes on.  Every rank calls it.
RunEnd train_probe(const ProbeCell& cell, Process& process);

// What the trained model answers, always by the likeliest next token; questions are divided among the ranks.
// The same on every rank, but for the time.
ProbeResult score_probe(const ProbeCell& cell, Process& process);

}  // namespace trireme
