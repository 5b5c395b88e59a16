// cuDNN's attention behind the header of ours.
#include <cstdint>
#include <vector>

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/stream_graph.h"
#include "tests/kernels/operand.h"
#include "tests/reference/attention.h"
#include "tests/vgpu/counters.h"

namespace trireme {
namespace {

struct Case {
  reference::AttentionSizes sizes;
  bool causal;
  bool packed;  // rows lie apart
};

class AttentionCudnn : public testing::TestWithParam<Case> {};

// Calls of libraries, which the virtual GPU counts; -1 on a real one.
std::int64_t num_library_calls() {
  const auto counters_of = reinterpret_cast<decltype(&vgpu_counters)>(dlsym(RTLD_DEFAULT, "vgpu_counters"));
  if (counters_of == nullptr) return -1;
  VgpuCounters counters{};
  counters_of(&counters);
  return static_cast<std::int64_t>(counters.library_calls);
}

// bfloat16's 8 bits, of numbers near 1, through two products.
constexpr double kTolerance = 0.02;

TEST_P(AttentionCudnn, FollowsTheLoops) {
  const auto [n, causal, packed] = GetParam();
  constexpr DType kType = DType::kBfloat16;
  const Shape q_shape = {n.b, n.t, n.h, n.d}, k_shape = {n.b, n.s, n.k, n.d};
  const Shape q_padded = packed ? Shape{n.b, n.t, n.h + 2 * n.k, n.d} : Shape{};
  const Shape k_padded = packed ? Shape{n.b, n.s, n.h + n.k + 1, n.d} : Shape{};
  const auto random = [&](const Shape& shape, std::uint64_t seed, const Shape& padded) {
    return Operand::random(shape, seed, 1.0, padded, kType);
  };
  const Operand q = random(q_shape, 1, q_padded), k = random(k_shape, 2, k_padded);
  const Operand v = random(k_shape, 3, k_padded), dout = random(q_shape, 4, q_padded);
  const Operand out = Operand::poisoned(q_shape, q_padded, kType), lse = Operand::poisoned({n.b, n.h, n.t});
  const Operand dq = Operand::poisoned(q_shape, q_padded, kType);
  const Operand dk = Operand::poisoned(k_shape, k_padded, kType);
  const Operand dv = Operand::poisoned(k_shape, k_padded, kType);
  AttentionOptions options;
  options.scale = 0.3F;
  options.causal = causal;
  options.library = AttentionLibrary::kCudnn;

  const std::int64_t calls = num_library_calls();
  // Twice, for the second time finds the plans of the first.
  for (int i = 0; i < 2; ++i) {
    attention_forward(out, lse, q, k, v, options, test_stream());
    attention_backward(dq, dk, dv, dout, out, lse, q, k, v, options, test_stream());
  }
  if (calls >= 0) {
    EXPECT_EQ(num_library_calls(), calls + 4) << "not of cuDNN";
  }
  const reference::Attention expected =
      reference::attention(q.doubles(), k.doubles(), v.doubles(), n, options);
  out.expect_near(expected.out, kTolerance, "out");
  lse.expect_near(expected.lse, 1e-5, "lse");
  const reference::AttentionGradients gradients =
      reference::attention_backward(dout.doubles(), q.doubles(), k.doubles(), v.doubles(), n, options);
  dq.expect_near(gradients.dq, kTolerance, "dq");
  dk.expect_near(gradients.dk, kTolerance, "dk");
  dv.expect_near(gradients.dv, kTolerance, "dv");
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionCudnn,
                         testing::Values(Case{{2, 24, 24, 4, 4, 16}, true, false},
                                         Case{{1, 17, 17, 4, 2, 64}, true, true},
                                         Case{{2, 9, 30, 2, 1, 40}, false, true},
                                         Case{{1, 1, 1, 1, 1, 128}, true, false}));

// What cuDNN isn't asked for comes from our kernels.
TEST(AttentionCudnnOther, TakesOurKernels) {
  const Operand q = Operand::random({1, 20, 2, 16}, 1, 1.0, {}, DType::kBfloat16);
  AttentionOptions options;
  options.scale = 0.25F;
  options.window = 5;
  const Operand ours = Operand::poisoned({1, 20, 2, 16}, {}, DType::kBfloat16);
  attention_forward(ours, {}, q, q, q, options, test_stream());
  options.library = AttentionLibrary::kCudnn;
  const Operand cudnns = Operand::poisoned({1, 20, 2, 16}, {}, DType::kBfloat16);
  attention_forward(cudnns, {}, q, q, q, options, test_stream());
  EXPECT_EQ(ours.floats(), cudnns.floats());
}

// From Hopper on both are tried when a shape comes up first, and the quicker's results are left.
TEST(AttentionCudnnOther, TakesTheQuicker) {
  const Shape shape = {1, 33, 2, 24};
  const auto random = [&](std::uint64_t seed) {
    return Operand::random(shape, seed, 1.0, {}, DType::kBfloat16);
  };
  const Operand q = random(1), k = random(2), v = random(3), dout = random(4);
  const Operand out = Operand::poisoned(shape, {}, DType::kBfloat16), lse = Operand::poisoned({1, 2, 33});
  const auto forward = [&](AttentionLibrary library) {
    attention_forward(out, lse, q, k, v, {.scale = 0.25F, .library = library}, test_stream());
    return out.floats();
  };
  const auto backward = [&](AttentionLibrary library) {
    const Operand dq = Operand::poisoned(shape, {}, DType::kBfloat16);
    const Operand dk = Operand::poisoned(shape, {}, DType::kBfloat16);
    const Operand dv = Operand::poisoned(shape, {}, DType::kBfloat16);
    attention_backward(dq, dk, dv, dout, out, lse, q, k, v, {.scale = 0.25F, .library = library},
                       test_stream());
    return std::vector{dq, dk, dv};
  };
  int major = 0;
  ASSERT_EQ(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, test_device().index),
            cudaSuccess);

  const std::int64_t calls = num_library_calls();
  const std::vector<float> tried = forward(AttentionLibrary::kQuicker);
  const auto gradients_tried = backward(AttentionLibrary::kQuicker);
  const std::int64_t calls_of_trials = num_library_calls() - calls;
  EXPECT_EQ(forward(AttentionLibrary::kQuicker), tried);
  backward(AttentionLibrary::kQuicker);
  const std::int64_t calls_later = num_library_calls() - calls - calls_of_trials;
  if (calls >= 0 && major >= 9) {
    EXPECT_GE(calls_of_trials, 2 * 5);
    EXPECT_LE(calls_later, 2);
  }
  const std::vector<float> ours = forward(AttentionLibrary::kTrireme);
  if (major < 9) {
    EXPECT_EQ(calls_of_trials, 0);
    EXPECT_EQ(tried, ours);
  } else {
    EXPECT_TRUE(tried == ours || tried == forward(AttentionLibrary::kCudnn));
  }
  const auto gradients = backward(AttentionLibrary::kTrireme);
  for (std::size_t i = 0; i < gradients.size(); ++i)
    gradients_tried[i].expect_near(gradients[i].doubles(), kTolerance, "gradients");
}

// Neither plans nor trials are made while a graph is recorded, whether cuDNN knows the shape already or not.
TEST(AttentionCudnnOther, TriesNothingInAGraph) {
  const Shape shape = {1, 21, 2, 24};
  const Operand q = Operand::random(shape, 1, 1.0, {}, DType::kBfloat16);
  const Operand out = Operand::poisoned(shape, {}, DType::kBfloat16);
  const auto forward = [&](AttentionLibrary library) {
    attention_forward(out, {}, q, q, q, {.scale = 0.25F, .library = library}, test_stream());
  };
  forward(AttentionLibrary::kTrireme);
  const std::vector<float> ours = out.floats();
  for (const bool is_known : {false, true}) {
    if (is_known) forward(AttentionLibrary::kCudnn);
    fill(out, 0.0F, test_stream());
    test_stream().synchronize();
    StreamGraph graph;
    graph.record(test_stream(), [&] { forward(AttentionLibrary::kQuicker); });
    graph.launch(test_stream());
    EXPECT_EQ(out.floats(), ours) << is_known;
  }
}

}  // namespace
}  // namespace trireme
