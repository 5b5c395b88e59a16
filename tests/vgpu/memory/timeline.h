#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trireme::vgpu {

using OpId = uint32_t;  // 0: nobody; else the number of an operation on a stream, in the order of the calls

// clock[s] = how many operations of stream s are certain to be finished.
using Clock = std::vector<uint32_t>;

void join(Clock& clock, const Clock& other);

// Which operations on streams are ordered before which, by streams, events and the host's waiting.  It knows
// nothing of when they are executed: two operations without an order are a mistake even if they happened to
// run apart.
class Timeline {
 public:
  static Timeline& get();

  // The next operation of the stream.  Its clock, with the operation itself counted in, comes back in
  // `clock`.
  OpId add(int stream, const std::string& name, Clock& clock);

  // Whether the operation is over for somebody with that clock.
  bool is_before(OpId op, const Clock& clock) const {
    const Op& o = ops_[op];
    return o.stream < static_cast<int>(clock.size()) && clock[o.stream] >= o.number;
  }

  std::string describe(OpId op) const;

 private:
  struct Op {
    int stream = 0;
    uint32_t number = 0;  // within the stream, from 1
    uint32_t name = 0;
  };
  std::vector<Op> ops_ = std::vector<Op>(1);
  std::vector<std::string> names_;
};

}  // namespace trireme::vgpu
