#include "parallel/communicator.h"

#include <glog/logging.h>

namespace trireme {

Traffic Traffic::operator-(const Traffic& before) const {
  return {.num_calls = num_calls - before.num_calls,
          .bytes_received = bytes_received - before.bytes_received,
          .seconds_busy = seconds_busy - before.seconds_busy,
          .seconds_waited = seconds_waited - before.seconds_waited};
}

Traffic& Traffic::operator+=(const Traffic& more) {
  num_calls += more.num_calls;
  bytes_received += more.bytes_received;
  seconds_busy += more.seconds_busy;
  seconds_waited += more.seconds_waited;
  return *this;
}

void Communicator::check_operand(const Tensor& x) const {
  CHECK(x || x.num_elements() == 0) << name() << ": a collective is given no tensor";
  CHECK(x.is_contiguous()) << name() << ": a collective needs contiguous memory, " << x.shape().to_string()
                           << " is not";
}

void Communicator::check_same_type(std::span<const Tensor> xs) const {
  for (const Tensor& x : xs) {
    check_operand(x);
    CHECK(x.dtype() == xs.front().dtype()) << name() << ": " << trireme::name(x.dtype()) << " and "
                                           << trireme::name(xs.front().dtype()) << " in one all_reduce";
  }
}

void Communicator::check_parts(const char* operation, const Tensor& whole, const Tensor& part) const {
  check_operand(whole);
  check_operand(part);
  CHECK(whole.dtype() == part.dtype() && whole.num_elements() == size() * part.num_elements())
      << name() << ": " << operation << " over " << size() << " ranks between parts of "
      << trireme::name(part.dtype()) << part.shape().to_string() << " and the whole of "
      << trireme::name(whole.dtype()) << whole.shape().to_string();
}

void Communicator::check_exchange(const Tensor& out, const Tensor& x) const {
  check_operand(out);
  check_operand(x);
  CHECK(out.dtype() == x.dtype() && out.num_elements() == x.num_elements() && x.num_elements() % size() == 0)
      << name() << ": all_to_all over " << size() << " ranks of " << trireme::name(x.dtype())
      << x.shape().to_string() << " into " << trireme::name(out.dtype()) << out.shape().to_string();
}

void Communicator::check_root(int root) const {
  CHECK(0 <= root && root < size()) << name() << ": rank " << root << " of a group of " << size();
}

void Communicator::check_peer(int peer) const {
  check_root(peer);
  CHECK_NE(peer, rank()) << name() << ": a message of a rank to itself";
}

}  // namespace trireme
