#include "kernels/stream_graph.h"

#include <glog/logging.h>

#include "kernels/cuda/runtime.h"

namespace trireme {

void StreamGraph::Destroy::operator()([[maybe_unused]] void* graph) const {
  if constexpr (kHasCuda) cuda::destroy_graph(graph);
}

void StreamGraph::begin(Stream stream) {
  CHECK(stream.cuda() != nullptr) << "only streams of CUDA devices are recorded";
  if constexpr (kHasCuda) cuda::begin_graph(*stream.cuda());
}

void StreamGraph::end([[maybe_unused]] Stream stream) {
  if constexpr (kHasCuda) graph_.reset(cuda::end_graph(*stream.cuda(), graph_.release()));
}

void StreamGraph::launch([[maybe_unused]] Stream stream) const {
  CHECK(graph_ != nullptr) << "launched before anything was recorded";
  if constexpr (kHasCuda) cuda::launch_graph(graph_.get(), *stream.cuda());
}

}  // namespace trireme
