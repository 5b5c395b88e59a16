#include "trainer/layout_limits.h"

#include <cstdint>
#include <functional>
#include <string>

#include "data/user_error.h"
#include "kernels/attention.h"
#include "parallel/nccl_communicator.h"
#include "parallel/pipeline_schedule.h"

namespace trireme {
namespace {

// The nearest numbers below and above `x`, from 1 to `most`, that fit.
std::string nearest_that_fit(std::int64_t x, std::int64_t most,
                             const std::function<bool(std::int64_t)>& fits) {
  std::int64_t below = x - 1, above = x + 1;
  while (below > 1 && !fits(below)) --below;
  while (above <= most && !fits(above)) ++above;
  return "for example " + std::to_string(below) + (above <= most ? " or " + std::to_string(above) : "");
}

void refuse(const std::string& key, const std::string& value, const std::string& what,
            const std::string& instead) {
  throw UserError(key, key + " = " + value + " " + what, instead);
}

void check_tensor(const Config& config, std::int64_t ranks) {
  const ModelConfig& model = config.model;
  const std::string key = "parallel.tensor";
  const std::string value = std::to_string(ranks);
  const std::int64_t kv_heads = model.kv_heads > 0 ? model.kv_heads : model.heads;
  const auto fits = [&](std::int64_t size) {
    return model.heads % size == 0 && (kv_heads % size == 0 || size % kv_heads == 0);
  };
  if (model.heads % ranks != 0) {
    refuse(key, value, "ranks cannot share model.heads = " + std::to_string(model.heads) + " evenly",
           nearest_that_fit(ranks, model.heads, fits));
  }
  if (!fits(ranks)) {
    refuse(key, value,
           "and model.kv_heads = " + std::to_string(kv_heads) + ": neither is a multiple of the other",
           nearest_that_fit(ranks, model.heads, fits));
  }
}

// Of what several ranks do only if each has the whole model.
void check_whole_models(const Config& config, const std::string& key, std::int64_t ranks) {
  const auto refuse_with = [&](const std::string& other) {
    refuse(key, std::to_string(ranks), "does not go with " + other,
           "set " + key + " = 1 and share the batch alone (parallel.data), or leave that out");
  };
  if (config.model.kind == "encoder") refuse_with("model.kind = \"encoder\"");
  if (config.model.loops > 1) refuse_with("model.loops = " + std::to_string(config.model.loops));
  if (config.train.eval_translations > 0) {
    refuse_with(
        "train.eval_translations: to translate takes the whole model on a rank (trireme evaluate "
        "does, of a checkpoint)");
  }
  if (config.train.eval_attention > 0)
    refuse_with("train.eval_attention: to look at attention takes all heads on a rank");
}

void check_chunks(const Config& config, int stages) {
  const ParallelConfig& parallel = config.parallel;
  const bool interleaved = parallel.schedule == "interleaved";
  if (stages == 1 && parallel.chunks > 1) {
    refuse("parallel.chunks", std::to_string(parallel.chunks), "is of a pipeline, and there is one stage",
           "set parallel.pipeline, or leave it out");
  }
  if (stages == 1) return;
  if (interleaved && config.model.kind == "encoder_decoder") {
    refuse("parallel.schedule", "\"interleaved\"",
           "takes as many microbatches in each step, and steps of pairs have different numbers",
           "set it to \"1f1b\" or \"zero_bubble\"");
  }
  const auto reason = why_not(PipelineShape{.kind = *pipeline_kind(parallel.schedule),
                                            .num_stages = stages,
                                            .num_microbatches = stages,
                                            .num_chunks = static_cast<int>(parallel.chunks)});
  if (reason) throw UserError("parallel.chunks", *reason, "change it, or parallel.schedule");
}

void check_cuda(const MeshLayout& mesh) {
  for (const Axis axis : kAxes) {
    if (kHasNccl || mesh.size(axis) == 1) continue;
    throw UserError("run.device", "cuda on several ranks needs NCCL, which this build has not",
                    "install NCCL and build again, start one rank, or set run.device = cpu");
  }
}

// Of what can be told a device once, to be done at every step.
void check_cuda_graph(const Config& config, const MeshLayout& mesh) {
  const auto refuse_with = [&](const std::string& other) {
    refuse("run.cuda_graph", "true", "does not go with " + other, "leave it out, or change that");
  };
  if (config.run.device == "cpu") refuse_with("run.device = \"cpu\"");
  if (config.model.halting) refuse_with("model.halting, for which the host waits after every loop");
  if (config.parallel.zero >= 2)
    refuse_with("parallel.zero = " + std::to_string(config.parallel.zero) + ", whose memory comes and goes");
  if (mesh.size(Axis::kPipeline) > 1) refuse_with("parallel.pipeline, whose stages wait for each other");
  if (mesh.size(Axis::kData) * mesh.size(Axis::kTensor) == 1) return;
  // Graphs that talk to peers are recorded once: NCCL doesn't say that they can be updated.
  if (config.model.kind == "encoder_decoder")
    refuse_with("model.kind = \"encoder_decoder\", whose batches differ, on several ranks");
  if (config.model.dropout > 0.0 || config.model.attention_dropout > 0.0)
    refuse_with("dropout, whose masks differ at each step, on several ranks");
}

void check_cudnn(const Config& config) {
  const auto refuse_with = [&](const std::string& other, const std::string& instead) {
    refuse("run.attention", "\"cudnn\"", "does not go with " + other, instead);
  };
  if (config.run.device == "cpu")
    refuse_with("run.device = \"cpu\"", "leave it out, or set run.device = \"cuda\"");
  if (config.train.dtype != "bfloat16")
    refuse_with("train.dtype = \"float32\"", "leave it out, or set train.dtype = \"bfloat16\"");
  if (!has_cudnn())
    refuse_with("this build, which has no cuDNN", "leave it out, or install cuDNN and build again");
}

void check_bfloat16(const Config& config) {
  if (config.run.device == "cpu") {
    refuse("train.dtype", "\"bfloat16\"", "does not go with run.device = \"cpu\"",
           "set run.device = \"cuda\"");
  }
}

}  // namespace

void check_layout(const Config& config, const MeshLayout& mesh) {
  if (config.train.dtype == "bfloat16") check_bfloat16(config);
  if (const int ranks = mesh.size(Axis::kTensor); ranks > 1) {
    check_tensor(config, ranks);
    check_whole_models(config, "parallel.tensor", ranks);
  }
  if (const int stages = mesh.size(Axis::kPipeline); stages > 1)
    check_whole_models(config, "parallel.pipeline", stages);
  check_chunks(config, mesh.size(Axis::kPipeline));
  if (config.run.device == "cuda") check_cuda(mesh);
  if (config.run.cuda_graph) check_cuda_graph(config, mesh);
  if (config.run.attention == "cudnn") check_cudnn(config);
  if (config.parallel.zero >= 2 && mesh.size(Axis::kPipeline) > 1) {
    refuse("parallel.zero", std::to_string(config.parallel.zero),
           "would sum gradients over replicas for each microbatch of each stage of the pipeline",
           "set parallel.zero = 1, or do without the pipeline");
  }
}

}  // namespace trireme
