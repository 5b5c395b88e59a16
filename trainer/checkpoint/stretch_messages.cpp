#include "trainer/checkpoint/stretch_messages.h"

#include <algorithm>
#include <utility>

namespace trireme {
namespace {

constexpr std::size_t kLargeElements = 1 << 14;  // worth a message of its own

bool is_large(std::span<const float> stretch) {
  return stretch.size() >= kLargeElements;
}

Tensor tensor_of(std::span<float> values) {
  return {values.data(), DType::kFloat32, {std::ssize(values)}};
}

std::size_t size_packed(const Stretches& stretches) {
  std::size_t size = 0;
  for (const auto& stretch : stretches) size += is_large(stretch) ? 0 : stretch.size();
  return size;
}

void pack(const Stretches& stretches, std::vector<float>& packed) {
  packed.reserve(size_packed(stretches));
  for (const auto& stretch : stretches) {
    if (!is_large(stretch)) packed.insert(packed.end(), stretch.begin(), stretch.end());
  }
}

void unpack(const std::vector<float>& packed, const Stretches& stretches) {
  auto next = packed.begin();
  for (const auto& stretch : stretches) {
    if (is_large(stretch)) continue;
    const auto end = next + std::ssize(stretch);
    std::copy(next, end, stretch.begin());
    next = end;
  }
}

}  // namespace

void StretchMessages::send(int to, Stretches stretches) {
  Message& message = sends_.emplace_back(Message{to, std::move(stretches), {}});
  if (to == communicator_.rank()) return;
  pack(message.stretches, message.packed);
  post(message, &Communicator::send);
}

void StretchMessages::receive(int from, Stretches stretches) {
  Message& message = receives_.emplace_back(Message{from, std::move(stretches), {}});
  if (from == communicator_.rank()) return;
  message.packed.resize(size_packed(message.stretches));
  post(message, &Communicator::receive);
}

void StretchMessages::post(Message& message,
                           Communicator::Ticket (Communicator::*call)(Tensor, int, Stream)) {
  for (const auto& stretch : message.stretches) {
    if (is_large(stretch)) tickets_.push_back((communicator_.*call)(tensor_of(stretch), message.peer, {}));
  }
  if (!message.packed.empty())
    tickets_.push_back((communicator_.*call)(tensor_of(message.packed), message.peer, {}));
}

void StretchMessages::finish() {
  const auto is_own = [&](const Message& message) { return message.peer == communicator_.rank(); };
  const auto sent = std::find_if(sends_.begin(), sends_.end(), is_own);
  const auto received = std::find_if(receives_.begin(), receives_.end(), is_own);
  if (sent != sends_.end() && received != receives_.end()) {
    for (std::size_t i = 0; i < sent->stretches.size(); ++i)
      std::copy(sent->stretches[i].begin(), sent->stretches[i].end(), received->stretches[i].begin());
  }
  for (const Communicator::Ticket ticket : tickets_) communicator_.wait(ticket, {});
  for (const Message& message : receives_) {
    if (!is_own(message)) unpack(message.packed, message.stretches);
  }
  tickets_.clear();
  sends_.clear();
  receives_.clear();
}

std::vector<std::vector<std::int32_t>> exchange_lists(std::vector<std::vector<std::int32_t>> to_each,
                                                      Communicator& communicator) {
  const auto num_ranks = static_cast<std::int64_t>(to_each.size());
  const auto tensor_of_list = [](std::vector<std::int32_t>& list) {
    return Tensor(list.data(), DType::kInt32, {std::ssize(list)});
  };
  std::vector<std::int32_t> sizes;
  for (const auto& list : to_each) sizes.push_back(static_cast<std::int32_t>(list.size()));
  std::vector<std::int32_t> sizes_to_come(sizes.size());
  communicator.wait(communicator.all_to_all(tensor_of_list(sizes_to_come), tensor_of_list(sizes), {}), {});

  std::vector<std::vector<std::int32_t>> from_each(to_each.size());
  std::vector<Communicator::Ticket> tickets;
  for (int peer = 0; peer < num_ranks; ++peer) {
    auto& out = to_each[static_cast<std::size_t>(peer)];
    auto& in = from_each[static_cast<std::size_t>(peer)];
    if (peer == communicator.rank()) {
      in = std::move(out);
      continue;
    }
    in.resize(static_cast<std::size_t>(sizes_to_come[static_cast<std::size_t>(peer)]));
    if (!out.empty()) tickets.push_back(communicator.send(tensor_of_list(out), peer, {}));
    if (!in.empty()) tickets.push_back(communicator.receive(tensor_of_list(in), peer, {}));
  }
  for (const Communicator::Ticket ticket : tickets) communicator.wait(ticket, {});
  return from_each;
}

}  // namespace trireme
