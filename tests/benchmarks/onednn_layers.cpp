#include "tests/benchmarks/onednn_layers.h"

#if TRIREME_HAS_ONEDNN

#include <cstddef>
#include <memory>
#include <unordered_map>
#include <utility>

#include <dnnl.hpp>
#include <omp.h>

namespace trireme {
namespace {

using dnnl::memory;

// A primitive with its operands, filled with small numbers.
class Layer {
 public:
  void add(int argument, const memory::desc& layout) {
    const memory operand(layout, engine_);
    auto* const numbers = static_cast<float*>(operand.get_data_handle());
    for (std::size_t i = 0; i < layout.get_size() / sizeof(float); ++i)
      numbers[i] = 0.01F * static_cast<float>(static_cast<int>(i % 23) - 11);
    operands_.emplace(argument, operand);
  }
  void set(dnnl::primitive primitive) { primitive_ = std::move(primitive); }
  const dnnl::engine& engine() const { return engine_; }

  void operator()() {
    primitive_.execute(stream_, operands_);
    stream_.wait();
  }

 private:
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::primitive primitive_;
  std::unordered_map<int, memory> operands_;
};

// The layout is left to oneDNN, where it may choose.
memory::desc floats(memory::dims sizes, memory::format_tag tag = memory::format_tag::any) {
  return {std::move(sizes), memory::data_type::f32, tag};
}

std::function<void()> runs(std::shared_ptr<Layer> layer) {
  return [layer = std::move(layer)] { (*layer)(); };
}

}  // namespace

bool has_onednn() {
  return true;
}

void use_one_onednn_thread() {
  omp_set_num_threads(1);
}

std::function<void()> onednn_lstm(std::int64_t batch, std::int64_t length, std::int64_t width) {
  const auto layer = std::make_shared<Layer>();
  const memory::desc sequence = floats({length, batch, width}, memory::format_tag::tnc);
  const memory::desc weights = floats({1, 1, width, 4, width});
  const memory::desc bias = floats({1, 1, 4, width}, memory::format_tag::ldgo);
  // No first state, which is 0 then, and no last one.
  const dnnl::lstm_forward::desc what(dnnl::prop_kind::forward_inference,
                                      dnnl::rnn_direction::unidirectional_left2right, sequence, {}, {},
                                      weights, weights, bias, sequence, {}, {});
  const dnnl::lstm_forward::primitive_desc how(what, layer->engine());
  layer->add(DNNL_ARG_SRC_LAYER, how.src_layer_desc());
  layer->add(DNNL_ARG_WEIGHTS_LAYER, how.weights_layer_desc());
  layer->add(DNNL_ARG_WEIGHTS_ITER, how.weights_iter_desc());
  layer->add(DNNL_ARG_BIAS, how.bias_desc());
  layer->add(DNNL_ARG_DST_LAYER, how.dst_layer_desc());
  layer->set(dnnl::lstm_forward(how));
  return runs(layer);
}

std::function<void()> onednn_convolution(std::int64_t batch, std::int64_t length, std::int64_t width,
                                         std::int64_t kernel) {
  const auto layer = std::make_shared<Layer>();
  const memory::dims padding = {(kernel - 1) / 2};
  const dnnl::convolution_forward::desc what(
      dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, floats({batch, width, length}),
      floats({width, width, kernel}), floats({width}), floats({batch, width, length}), {1}, padding, padding);
  const dnnl::convolution_forward::primitive_desc how(what, layer->engine());
  layer->add(DNNL_ARG_SRC, how.src_desc());
  layer->add(DNNL_ARG_WEIGHTS, how.weights_desc());
  layer->add(DNNL_ARG_BIAS, how.bias_desc());
  layer->add(DNNL_ARG_DST, how.dst_desc());
  layer->set(dnnl::convolution_forward(how));
  return runs(layer);
}

}  // namespace trireme

#else

namespace trireme {

bool has_onednn() {
  return false;
}

void use_one_onednn_thread() {}

std::function<void()> onednn_lstm(std::int64_t, std::int64_t, std::int64_t) {
  return {};
}

std::function<void()> onednn_convolution(std::int64_t, std::int64_t, std::int64_t, std::int64_t) {
  return {};
}

}  // namespace trireme

#endif
