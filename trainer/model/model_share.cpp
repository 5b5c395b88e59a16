#include "trainer/model/model_share.h"

#include <glog/logging.h>

namespace trireme {

LayerRange ModelShare::layers_of(int chunk, std::int64_t num_layers) const {
  if (parts.empty()) return {0, static_cast<int>(num_layers)};
  CHECK_EQ(static_cast<int>(parts.size()) % num_stages(), 0) << "each stage has as many parts";
  CHECK_EQ(parts.back().end, num_layers);
  return parts[static_cast<std::size_t>(chunk * num_stages() + stage())];
}

int ModelShare::stage_of(std::int64_t layer) const {
  for (std::size_t part = 0; part < parts.size(); ++part) {
    if (layer < parts[part].end) return static_cast<int>(part) % num_stages();
  }
  return 0;
}

std::unique_ptr<Communicator> tie_across_stages(ParameterBuffer& parameters, const Parameter* parameter,
                                                const ModelShare& share, const std::set<int>& stages) {
  if (stages.size() < 2) return nullptr;
  CHECK_EQ(parameter != nullptr, stages.contains(share.stage()));
  auto group = share.pipeline->split(parameter != nullptr ? 0 : 1, share.stage(), "tied");
  if (parameter != nullptr) {
    parameters.add_replica(*parameter, {.group = group.get(),
                                        .elements = {0, parameter->shape.num_elements()},
                                        .is_partial = true,
                                        .spans_stages = true});
  }
  return group;
}

}  // namespace trireme
