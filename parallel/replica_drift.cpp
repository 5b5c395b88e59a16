#include "parallel/replica_drift.h"

#include <cstring>
#include <deque>

namespace trireme {
namespace {

// What a group shares of a parameter, under way from its rank 0.
struct Shared {
  const Parameter& parameter;
  const float* own;
  std::vector<float> of_rank_0;
  Communicator& group;
  Communicator::Ticket ticket = 0;
};

}  // namespace

std::vector<std::string> find_drift(const ParameterBuffer& parameters, Tensor values, Communicator& data) {
  // All set out before the first is waited for: ranks may meet their groups in different orders.
  std::deque<Shared> all;
  const auto start = [&](const Parameter& parameter, Communicator& group, FlatRange elements) {
    if (group.size() == 1) return;
    const float* own = values.data<float>() + parameter.offset + elements.begin;
    Shared& shared = all.emplace_back(Shared{parameter, own, {own, own + elements.size()}, group});
    const Tensor x(shared.of_rank_0.data(), DType::kFloat32, {elements.size()});
    shared.ticket = group.broadcast(x, 0, {});
  };
  for (const Parameter& parameter : parameters.parameters()) {
    start(parameter, data, {0, parameter.shape.num_elements()});
    for (const Replica& replica : parameter.replicas) start(parameter, *replica.group, replica.elements);
  }
  std::vector<std::string> drifted;
  for (Shared& shared : all) {
    shared.group.wait(shared.ticket, {});
    const std::size_t bytes = shared.of_rank_0.size() * sizeof(float);
    const bool same = std::memcmp(shared.own, shared.of_rank_0.data(), bytes) == 0;
    const std::string& name = shared.parameter.name;
    if (!same && (drifted.empty() || drifted.back() != name)) drifted.push_back(name);
  }
  return drifted;
}

}  // namespace trireme
