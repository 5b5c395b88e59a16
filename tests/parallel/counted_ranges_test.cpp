#include "parallel/counted_ranges.h"

#include <vector>

#include <gtest/gtest.h>

#include "tests/support/ranks.h"

namespace trireme {
namespace {

// Of a parameter of 100 elements, at 16, the ranks have [10, 40) alike: the first one counts them.
TEST(CommunicatorCountedRanges, CountsReplicasOnce) {
  Communicator& world = test_process().world();
  ParameterBuffer parameters;
  parameters.add("alone", {16}, Initializer::constant(0.0F), false);
  Parameter& shared = parameters.add("shared", {100}, Initializer::constant(0.0F), false);
  shared.replicas.push_back({.group = &world, .elements = {10, 40}, .is_partial = false});
  using Ranges = std::vector<FlatRange>;
  const Ranges all = {{0, 128}};
  const Ranges parts = {{0, 20}, {30, 50}, {60, 128}};
  if (world.rank() == 0) {
    EXPECT_EQ(counted_ranges(parameters, all), all);
    EXPECT_EQ(counted_ranges(parameters, parts), parts);
  } else {
    EXPECT_EQ(counted_ranges(parameters, all), (Ranges{{0, 26}, {56, 128}}));
    EXPECT_EQ(counted_ranges(parameters, parts), (Ranges{{0, 20}, {60, 128}}));
  }
}

}  // namespace
}  // namespace trireme
