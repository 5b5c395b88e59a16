// Messages made of many stretches of memory.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "parallel/communicator.h"

namespace trireme {

using Stretches = std::vector<std::span<float>>;

// Sends and receives of one exchange among ranks; a rank may be its own peer.  Large stretches go as they
// lie, small ones packed together, so that neither many nor much costs a lot.
class StretchMessages {
 public:
  explicit StretchMessages(Communicator& communicator) : communicator_(communicator) {}

  // The peer receives as many stretches, of the same sizes.  Each at most once per peer until finish(); until
  // then the memory is the messages'.
  void send(int to, Stretches stretches);
  void receive(int from, Stretches stretches);
  // Returns when all have come and gone.
  void finish();

 private:
  struct Message {
    int peer;
    Stretches stretches;
    std::vector<float> packed;
  };

  void post(Message& message, Communicator::Ticket (Communicator::*call)(Tensor, int, Stream));

  Communicator& communicator_;
  std::vector<Message> sends_;
  std::vector<Message> receives_;
  std::vector<Communicator::Ticket> tickets_;
};

// Gives each rank a list of numbers: to_each[rank].  Returns what each gave to this one.
std::vector<std::vector<std::int32_t>> exchange_lists(std::vector<std::vector<std::int32_t>> to_each,
                                                      Communicator& communicator);

}  // namespace trireme
