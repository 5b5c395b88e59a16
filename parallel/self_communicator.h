// The group of one.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "parallel/communicator.h"

namespace trireme {

// Sums over itself, and copies only what has another place to go: at once, or on the stream of a device,
// whose other streams wait() lets see it.  Streams of devices outlive it.
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
  void order(Stream stream);
  Ticket operation(Tensor out, Tensor x, Stream stream);

  std::string name_;
  Stream last_;  // of a device, that an operation was given to
  std::optional<Event> event_;
};

}  // namespace trireme
