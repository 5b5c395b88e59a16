#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <cuda_runtime_api.h>

#include "tests/vgpu/memory/timeline.h"

namespace trireme::vgpu {

class Stream;
struct Running;

// An operation's turn: whether it is done.  It comes again until it is.
using Attempt = std::function<bool(const Running&)>;
// An operation is put into a stream, as this one.
using Begin = std::function<Attempt(OpId)>;

// What was submitted to the streams of a capture.
struct Graph {
  // Whether an executable graph of this one may get the other's operations instead.
  bool is_like(const Graph& other) const;

  struct Node {
    std::string name;
    Begin begin;                // as of Streams::submit_joint
    size_t branch = 0;          // the stream it was captured from
    std::vector<size_t> after;  // nodes, all of lower numbers
  };
  std::vector<Node> nodes;
  std::vector<int> devices;  // by branch
};

// While streams are captured, what is submitted to them goes here.
struct Capture {
  Graph graph;
  std::vector<Stream*> streams;  // by branch; the first one began it
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  bool is_valid = true;  // nothing was called that isn't allowed
  bool is_over = false;

  // Whether all nodes come before somebody who waits for those.
  bool are_joined(const std::vector<size_t>& waited_for) const;
};

// A graph that can be launched: each branch is a stream of its own, so that what the branches don't order
// isn't ordered.
struct GraphExec {
  Graph graph;
  std::vector<Stream*> branches;
  OpId end = 0;  // of the last launch: launches of the same graph don't overlap
  Clock end_clock;
};

}  // namespace trireme::vgpu
