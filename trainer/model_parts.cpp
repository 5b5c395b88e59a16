#include "trainer/model_parts.h"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <string>

#include <glog/logging.h>

#include "data/user_error.h"
#include "trainer/whole_layout.h"

namespace trireme {
namespace {

// Of a list such as "4,4,3", or "4 4 3".
std::vector<int> counts_of(const std::string& list) {
  std::vector<int> counts;
  std::string spaced = list;
  std::replace(spaced.begin(), spaced.end(), ',', ' ');
  std::istringstream words(spaced);
  for (std::string word; words >> word;) {
    int count = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), count);
    if (error != std::errc() || end != word.data() + word.size()) {
      throw UserError("parallel.pipeline_layers", "\"" + list + "\" is no list of numbers",
                      "write how many layers each part has, as in \"4,4,3\"");
    }
    counts.push_back(count);
  }
  return counts;
}

}  // namespace

std::vector<double> layer_costs(const TransformerOptions& options) {
  const std::int64_t encoder = options.kind == ModelKind::kEncoderDecoder ? options.encoder_layers : 0;
  std::vector<double> costs(static_cast<std::size_t>(encoder + options.layers));
  const std::string mark = "blocks.";
  for (const CheckpointEntry& entry : whole_layout(options).entries) {
    const std::size_t begin = entry.name.find(mark);
    if (begin == std::string::npos) continue;
    std::int64_t layer = std::stoll(entry.name.substr(begin + mark.size()));
    if (encoder > 0 && entry.name.starts_with("decoder.")) layer += encoder;
    costs[static_cast<std::size_t>(layer)] += static_cast<double>(entry.shape.num_elements());
  }
  costs.back() += static_cast<double>(options.vocabulary * options.width);
  return costs;
}

ModelShare share_of_model(const ParallelConfig& config, const TransformerOptions& options, const Mesh& mesh,
                          Stream stream, DType dtype) {
  ModelShare share{.tensor = &mesh.tensor(), .pipeline = &mesh.pipeline(), .stream = stream, .dtype = dtype};
  const int num_parts = mesh.size(Axis::kPipeline) * static_cast<int>(config.chunks);
  if (num_parts == 1) return share;
  const std::vector<double> costs = layer_costs(options);
  const auto num_layers = static_cast<int>(costs.size());
  const std::vector<int> counts = counts_of(config.pipeline_layers);
  const auto reason =
      counts.empty() ? why_not_share(num_layers, num_parts) : why_not_share(num_layers, num_parts, counts);
  if (reason) {
    throw UserError(counts.empty() ? "parallel.pipeline" : "parallel.pipeline_layers", *reason,
                    "change it, or model.layers");
  }
  share.parts = counts.empty() ? share_layers(costs, num_parts) : share_layers(counts);
  return share;
}

PipelineRunner pipeline_runner(const ParallelConfig& config, const Mesh& mesh) {
  const auto kind = pipeline_kind(config.schedule);
  CHECK(kind) << config.schedule;
  return {mesh.pipeline(), mesh.pipeline_back(), *kind, static_cast<int>(config.chunks)};
}

double from_last_stage(double loss, const Mesh& mesh) {
  Communicator& stages = mesh.pipeline();
  if (stages.size() == 1) return loss;
  auto narrow = static_cast<float>(loss);
  const Tensor loss_1(&narrow, DType::kFloat32, {1});
  stages.wait(stages.broadcast(loss_1, stages.size() - 1, {}), {});
  return narrow;
}

void check_schedule(const PipelineRunner& runner, int num_microbatches) {
  if (const auto reason = why_not(runner.shape(num_microbatches))) {
    throw UserError("parallel.schedule", *reason,
                    "change it, parallel.chunks, or train.microbatch_sequences or the batch");
  }
}

}  // namespace trireme
