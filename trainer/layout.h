// Layouts of ranks, by the names that people give them: "pp=2,dp=2".
#pragma once

#include <string>

#include "trainer/config.h"

namespace trireme {

// The config as one rank trains it: [parallel] is as if it hadn't been written.
Config on_one_rank(const Config& config);

// The same in a layout: a list of what differs from one rank, with commas between.
//
//     pp, dp, tp      ranks along an axis: parallel.pipeline, .data, .tensor; dp=0 takes all that remain
//     zero            parallel.zero
//     microbatch      train.microbatch_sequences; of pairs, train.microbatch_tokens
//     schedule, ...   any key of [parallel] or [train]
//     model.dropout   any key of another section, with its section
//
// Throws UserError for a name that is no key, and for values that don't go together.
Config in_layout(const Config& config, const std::string& layout);

// The ranks that a config of in_layout() trains on, of those of the job.
int num_ranks(const Config& config, int ranks_of_job);

}  // namespace trireme
