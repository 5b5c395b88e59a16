// The stages of a pipeline without processes: they know of each other who they are, and don't talk.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/communicator.h"

namespace trireme {

class StageGroup final : public Communicator {
 public:
  static std::vector<std::unique_ptr<StageGroup>> make(int num_stages) {
    const auto registry = std::make_shared<Registry>();
    const auto splits = std::make_shared<Registry>();
    std::vector<std::unique_ptr<StageGroup>> stages;
    for (int rank = 0; rank < num_stages; ++rank) {
      registry->push_back({0, rank});
      stages.push_back(std::make_unique<StageGroup>(registry, splits, Member{0, rank}));
    }
    return stages;
  }

  // By color and key.
  using Member = std::pair<int, int>;
  using Registry = std::vector<Member>;
  StageGroup(std::shared_ptr<Registry> all, std::shared_ptr<Registry> splits, Member self)
      : all_(std::move(all)), splits_(std::move(splits)), self_(self) {}

  int rank() const override {
    return count([&](const Member& other) { return other.first == self_.first && other < self_; });
  }
  int size() const override {
    return count([&](const Member& other) { return other.first == self_.first; });
  }
  const std::string& name() const override { return name_; }
  // Once.  The rank and size of what it returns are known when all stages have.
  std::unique_ptr<Communicator> split(int color, int key, std::string) override {
    splits_->push_back({color, key});
    return std::make_unique<StageGroup>(splits_, nullptr, Member{color, key});
  }

  Ticket all_reduce(Tensor, ReduceOp, Stream) override { return silent(); }
  // What the reducer does with gradients that stages have parts of: left to the test, which has all stages.
  Ticket all_reduce(std::span<const Tensor>, ReduceOp, Stream) override { return 0; }
  Ticket reduce_scatter(Tensor, Tensor, ReduceOp, Stream) override { return silent(); }
  Ticket all_gather(Tensor, Tensor, Stream) override { return silent(); }
  Ticket all_to_all(Tensor, Tensor, Stream) override { return silent(); }
  Ticket broadcast(Tensor, int, Stream) override { return silent(); }
  Ticket send(Tensor, int, Stream) override { return silent(); }
  Ticket receive(Tensor, int, Stream) override { return silent(); }
  void wait(Ticket, Stream) override {}
  void barrier() override { silent(); }
  Traffic traffic() const override { return {}; }

 private:
  template <typename Predicate>
  int count(Predicate predicate) const {
    return static_cast<int>(std::count_if(all_->begin(), all_->end(), predicate));
  }
  static Ticket silent() {
    ADD_FAILURE() << "a model's part talks to another stage";
    return 0;
  }

  std::shared_ptr<Registry> all_;
  std::shared_ptr<Registry> splits_;
  Member self_;
  std::string name_ = "stages";
};

}  // namespace trireme
