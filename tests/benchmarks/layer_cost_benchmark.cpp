// What one layer costs, against the length n of the sequence and the width d: table 1 of "Attention Is All
// You Need" as measured curves.  Forward, float32, one thread, in time of that thread alone:
//
//     build/benchmarks/layer_cost_benchmark              one sequence at a time; --batch for more
//     build/benchmarks/layer_cost_benchmark --smoke      a few small rows, to see that it works
//
// Self-attention is the whole layer: queries, keys and values of all positions, heads of 64, and the output
// projection.  In operations it is 8 n d^2 + 4 n^2 d, an LSTM 16 n d^2 and a convolution of width 3 6 n d^2,
// so self-attention should become dearer than the LSTM at n = 2 d.  In time that comes the later, the worse
// the LSTM's steps, which must wait for one another, use the machine: with few sequences at a time they are
// products of a matrix and a vector.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <time.h>

#include "kernels/arena.h"
#include "kernels/elementwise.h"
#include "kernels/threads.h"
#include "tests/benchmarks/onednn_layers.h"
#include "trainer/model/attention.h"

namespace trireme {
namespace {

constexpr std::int64_t kWindow = 64;  // positions on either side, with its own: 127 keys
constexpr std::int64_t kKernel = 3;

// A self-attention layer with its input and output.
class AttentionLayer {
 public:
  AttentionLayer(std::int64_t batch, std::int64_t length, std::int64_t width, std::int64_t window)
      : options_{.width = width,
                 .heads = width / 64,
                 .kv_heads = width / 64,
                 .head_width = 64,
                 .context = length,
                 .biases = Biases::kNone,
                 .positions = Positions::kNone,
                 .window = window,
                 .init_stddev = 0.02F},
        positions_(options_),
        layer_(parameters_, "layer", 0, /*causal=*/false, options_, positions_, 0.02F),
        pass_{.batch = batch, .sequence = length} {
    parameters_.allocate();
    parameters_.initialize(1);
    const PassLimits limits{.batch = batch, .sequence = length};
    const auto plan = [&](Arena& arena) {
      x_NC_ = arena.allocate(DType::kFloat32, {limits.rows(), width});
      y_NC_ = arena.allocate(DType::kFloat32, {limits.rows(), width});
      activations_ = layer_.allocate(arena, limits);
    };
    Arena measure = Arena::measuring();
    plan(measure);
    arena_ = std::make_unique<Arena>(measure.size_bytes());
    plan(*arena_);
    fill(x_NC_, 0.5F, pass_.stream);
  }
  void operator()() { layer_.forward(y_NC_, x_NC_, activations_, pass_); }

 private:
  TransformerOptions options_;
  ParameterBuffer parameters_;
  PositionTables positions_;
  SelfAttention layer_;
  Pass pass_;
  std::unique_ptr<Arena> arena_;
  Tensor x_NC_, y_NC_;
  SelfAttention::Activations activations_;
};

std::function<void()> attention(std::int64_t batch, std::int64_t length, std::int64_t width,
                                std::int64_t window) {
  return [layer = std::make_shared<AttentionLayer>(batch, length, width, window)] { (*layer)(); };
}

struct Kind {
  const char* name;
  bool needs_onednn;
  // What runs the forward pass once.
  std::function<std::function<void()>(std::int64_t batch, std::int64_t length, std::int64_t width)> make;
};

const std::array<Kind, 4> kKinds = {
    {{"self-attention", false, [](auto b, auto n, auto d) { return attention(b, n, d, 0); }},
     {"windowed", false, [](auto b, auto n, auto d) { return attention(b, n, d, kWindow); }},
     {"recurrent", true, onednn_lstm},
     {"convolution", true, [](auto b, auto n, auto d) { return onednn_convolution(b, n, d, kKernel); }}}};
constexpr std::size_t kSelfAttention = 0, kRecurrent = 2;

// Of this thread, so that other programs on the machine count little.
double milliseconds_computed() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e3 * static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_nsec);
}

// Of one call: the median of several, after a first one that isn't counted.
double milliseconds(const std::function<void()>& layer) {
  constexpr std::size_t kCalls = 5;
  constexpr double kLeast = 50.0, kMost = 1000.0;  // ms: short ones are called more often, long ones less
  layer();
  std::vector<double> times;
  for (double total = 0.0; total < kMost && (times.size() < kCalls || total < kLeast);) {
    const double begin = milliseconds_computed();
    layer();
    times.push_back(milliseconds_computed() - begin);
    total += times.back();
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

// Milliseconds by length.
using Curve = std::map<std::int64_t, double>;
using Curves = std::array<Curve, kKinds.size()>;  // of one width

Curves measured(std::int64_t batch, std::int64_t width, const std::vector<std::int64_t>& lengths) {
  Curves curves;
  for (const std::int64_t length : lengths) {
    std::printf("%6lld %6lld", static_cast<long long>(width), static_cast<long long>(length));
    for (std::size_t kind = 0; kind < kKinds.size(); ++kind) {
      if (kKinds[kind].needs_onednn && !has_onednn()) continue;
      const double time = milliseconds(kKinds[kind].make(batch, length, width));
      curves[kind].emplace(length, time);
      std::printf(" %15.4f", time);
    }
    std::printf("\n");
    std::fflush(stdout);
  }
  return curves;
}

// b of time = a n^b, over the last quarter of the lengths: shorter ones are paid for by what does not grow.
std::string exponent(const Curve& curve) {
  if (curve.size() < 3) return "-";
  const auto to = std::prev(curve.end());
  const auto from = std::prev(to, 2);
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%.2f",
                std::log(to->second / from->second) /
                    std::log(static_cast<double>(to->first) / static_cast<double>(from->first)));
  return text.data();
}

// The length from which on self-attention costs more than the LSTM, between two measured ones by straight
// lines in the logarithms.
std::string crossing(const Curve& attention, const Curve& recurrent) {
  const auto ratio = [&](auto point) { return std::log(point->second / recurrent.at(point->first)); };
  auto upper = std::prev(attention.end());
  if (ratio(upper) < 0.0) return "beyond " + std::to_string(upper->first);
  while (upper != attention.begin() && ratio(std::prev(upper)) >= 0.0) --upper;
  if (upper == attention.begin()) return "below " + std::to_string(upper->first);
  const auto lower = std::prev(upper);
  const double part = -ratio(lower) / (ratio(upper) - ratio(lower));
  const double from = std::log(static_cast<double>(lower->first));
  const double to = std::log(static_cast<double>(upper->first));
  return std::to_string(std::lround(std::exp(from + part * (to - from))));
}

void print_header(const char* first, const char* second) {
  std::printf("%6s %6s", first, second);
  for (const Kind& kind : kKinds) {
    if (!kind.needs_onednn || has_onednn()) std::printf(" %15s", kind.name);
  }
}

void run(std::int64_t batch, bool smoke) {
  set_num_threads(1);
  use_one_onednn_thread();
  std::vector<std::int64_t> widths = {64, 128, 256, 512, 1024};
  std::vector<std::int64_t> lengths = {64, 128, 256, 512, 1024, 2048, 4096};
  if (smoke) {
    widths = {64, 128};
    lengths = {64, 128, 256};
  }
  std::printf(
      "One layer forward, milliseconds (median), float32, one thread, %lld at a time.  Windowed: %lld\n"
      "positions on either side; convolution: width %lld.\n\n",
      static_cast<long long>(batch), static_cast<long long>(kWindow - 1), static_cast<long long>(kKernel));
  if (!has_onednn())
    std::printf("Built without oneDNN (libdnnl-dev): no recurrent and no convolutional layer.\n\n");
  print_header("d", "n");
  std::printf("\n");
  std::map<std::int64_t, Curves> by_width;
  for (const std::int64_t width : widths) by_width.emplace(width, measured(batch, width, lengths));

  std::printf("\nGrowth: b of time = a n^b over the last two doublings of n\n");
  print_header("d", "");
  std::printf(has_onednn() ? "   self-attention = recurrent at n\n" : "\n");
  for (const auto& [width, curves] : by_width) {
    std::printf("%6lld %6s", static_cast<long long>(width), "");
    for (const Curve& curve : curves) {
      if (!curve.empty()) std::printf(" %15s", exponent(curve).c_str());
    }
    if (has_onednn()) std::printf("   %s", crossing(curves[kSelfAttention], curves[kRecurrent]).c_str());
    std::printf("\n");
  }
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  CLI::App app("What one layer costs against length and width.");
  std::int64_t batch = 1;
  bool smoke = false;
  app.add_option("--batch", batch, "sequences at a time")->check(CLI::Range(1, 1024));
  app.add_flag("--smoke", smoke, "a few small rows, to see that it works");
  CLI11_PARSE(app, argc, argv);
  trireme::run(batch, smoke);
}
