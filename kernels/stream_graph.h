// Work that a device is told once and does many times.
#pragma once

#include <memory>

#include "kernels/stream.h"

namespace trireme {

// A CUDA graph, taken down from a stream: to launch it costs the host what one kernel does, and the device
// goes from one piece of work to the next without waiting for the host.
//
// What is taken down is what the device is told, addresses and all numbers that ops are given by value: the
// memory must stay where it is, and only what lies in it may change from one launch to the next.
class StreamGraph {
 public:
  // Takes down what `give()` gives to `stream`, which is of a CUDA device, and to the streams that wait for
  // it and that it waits for afterwards, instead of doing it.  Replaces what was taken down before: cheaply,
  // where it is the same ops with other operands.  Meanwhile neither may the host wait for those streams, nor
  // they for what came before.
  template <typename Give>
  void record(Stream stream, Give give) {
    begin(stream);
    give();
    end(stream);
  }
  explicit operator bool() const { return graph_ != nullptr; }
  // Does all of it, in the order of the stream.  REQUIRES: recorded.
  void launch(Stream stream) const;

 private:
  struct Destroy {
    void operator()(void* graph) const;
  };

  static void begin(Stream stream);
  void end(Stream stream);

  std::unique_ptr<void, Destroy> graph_;
};

}  // namespace trireme
