// How the ranks of a mesh share a model.
#pragma once

#include <vector>

#include "parallel/mesh.h"
#include "parallel/pipeline_runner.h"
#include "trainer/config.h"
#include "trainer/model/model_share.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

// Weights that a microbatch is multiplied with in each layer, an encoder's first; the output layer's count in
// the last.
std::vector<double> layer_costs(const TransformerOptions& options);

// What this rank of the mesh has.  The layers are shared as the config says, or so that the most costly part
// is as cheap as can be.  Throws UserError when they cannot.  It computes on `stream`, in `dtype`.
ModelShare share_of_model(const ParallelConfig& config, const TransformerOptions& options, const Mesh& mesh,
                          Stream stream, DType dtype);

// What runs this rank's part.
PipelineRunner pipeline_runner(const ParallelConfig& config, const Mesh& mesh);

// On every stage what the last one found, where the others have 0.
double from_last_stage(double loss, const Mesh& mesh);

// Throws UserError where the schedule doesn't take so many microbatches.
void check_schedule(const PipelineRunner& runner, int num_microbatches);

}  // namespace trireme
