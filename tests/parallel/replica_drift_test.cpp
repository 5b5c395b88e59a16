#include "parallel/replica_drift.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/ranks.h"

namespace trireme {
namespace {

using Names = std::vector<std::string>;

// On ranks that all have the same parameters, of which only the elements 5 to 10 of "norm" have a group.
class ReplicaDrift : public testing::Test {
 protected:
  ReplicaDrift() : alone_(world().split(world().rank(), 0, "dp")) {
    parameters_.add("table", Shape{4, 5}, Initializer::normal(1.0F), true);
    Parameter& norm = parameters_.add("norm", Shape{20}, Initializer::constant(1.0F), false);
    norm.replicas.push_back({.group = &world(), .elements = {5, 10}});
    parameters_.allocate(ParameterMemory::kValues);
    parameters_.initialize(7);
  }

  static Communicator& world() { return test_process().world(); }
  static bool is_last() { return world().rank() > 0 && world().rank() == world().size() - 1; }

  // Changes the last bit of a number on the last rank.
  void disturb(int parameter, int element) {
    if (!is_last()) return;
    float& x = parameters_.parameters()[static_cast<std::size_t>(parameter)].value.data<float>()[element];
    x = std::nextafter(x, 10.0F);
  }
  Names find(Communicator& data) { return find_drift(parameters_, parameters_.values(), data); }
  // What the last rank finds, and no other.
  static Names on_last(const Names& names) { return is_last() ? names : Names{}; }

  const std::unique_ptr<Communicator> alone_;
  ParameterBuffer parameters_;
};

TEST_F(ReplicaDrift, IsNoneWhereAllBitsAreTheSame) {
  EXPECT_EQ(find(world()), Names{});
}

TEST_F(ReplicaDrift, IsFoundByTheRankThatHasIt) {
  disturb(0, 7);
  disturb(1, 19);
  EXPECT_EQ(find(world()), on_last({"table", "norm"}));
}

TEST_F(ReplicaDrift, CountsInsideTheElementsOfAReplica) {
  disturb(0, 0);
  disturb(1, 4);
  disturb(1, 10);
  EXPECT_EQ(find(*alone_), Names{});
  disturb(1, 9);
  EXPECT_EQ(find(*alone_), on_last({"norm"}));
}

}  // namespace
}  // namespace trireme
