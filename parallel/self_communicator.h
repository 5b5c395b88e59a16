// The group of one.
#pragma once

#include <string>
#include <utility>

#include "parallel/communicator.h"

namespace trireme {

// Sums over itself: every operation is done when it returns, and only what has another place to go is copied.
class SelfCommunicator final : public Communicator {
 public:
  explicit SelfCommunicator(std::string name = "self") : name_(std::move(name)) {}

  int rank() const override { return 0; }
  int size() const override { return 1; }
  const std::string& name() const override { return name_; }

  Ticket all_reduce(Tensor x, ReduceOp op, Stream stream) override;
  Ticket all_reduce(std::span<const Tensor> xs, ReduceOp op, Stream stream) override;
  Ticket reduce_scatter(Tensor out, Tensor x, ReduceOp op, Stream stream) override;
  Ticket all_gather(Tensor out, Tensor x, Stream stream) override;
  Ticket all_to_all(Tensor out, Tensor x, Stream stream) override;
  Ticket broadcast(Tensor x, int root, Stream stream) override;
  Ticket send(Tensor x, int to, Stream stream) override;
  Ticket receive(Tensor x, int from, Stream stream) override;
  void wait(Ticket ticket, Stream stream) override;
  void barrier() override;
  std::unique_ptr<Communicator> split(int color, int key, std::string name) override;
  Traffic traffic() const override { return {}; }

 private:
  std::string name_;
};

}  // namespace trireme
