#include "kernels/cuda/cudnn/attention.h"

#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include <glog/logging.h>

#include "kernels/cuda/check.h"
#include "kernels/cuda/cudnn/attention_graph.h"
#include "kernels/cuda/stream_state.h"
#include "kernels/cuda/timing.h"

namespace trireme::cuda::cudnn {
namespace {

using Pointers = std::map<Uid, void*>;

// An operation graph and the engine that does it.
class Plan {
 public:
  Plan(AttentionGraph graph, cudnnHandle_t handle) : graph_(std::move(graph)), plan_(choose(handle)) {
    workspace_bytes_ = plan_.number(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
  }

  // `pointers` are to memory of the device.
  void execute(cudnnHandle_t handle, Pointers pointers, float scale, StreamState& stream) const {
    float hidden = std::numeric_limits<float>::lowest(), one = 1.0F;
    pointers.insert({{kScale, &scale}, {kHidden, &hidden}, {kOne, &one}});
    std::vector<std::int64_t> uids;
    std::vector<void*> data;
    for (const Uid uid : graph_.uids()) {
      uids.push_back(uid);
      data.push_back(pointers.at(uid));
    }
    void* workspace = stream.workspace(workspace_bytes_);
    Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, uids);
    pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
             static_cast<std::int64_t>(data.size()), data.data());
    pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace);
    pack.finalize();
    check(cudnnSetStream(handle, stream.handle()), "cudnnSetStream");
    check(cudnnBackendExecute(handle, plan_.raw(), pack.raw()), "cudnnBackendExecute");
  }

 private:
  // The first of those that cuDNN thinks best that can be had.
  Descriptor choose(cudnnHandle_t handle) const {
    Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph_.descriptor());
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, CUDNN_HEUR_MODE_A);
    heuristics.finalize();
    std::string why_not = "it knows no engine for the graph";
    for (const Descriptor& config :
         heuristics.list(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)) {
      try {
        Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, handle);
        plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
        plan.finalize();
        return plan;
      } catch (const Refused& refused) {
        why_not = refused.what();
      }
    }
    throw Refused(why_not);
  }

  AttentionGraph graph_;
  Descriptor plan_;
  std::int64_t workspace_bytes_ = 0;
};

// Why a call isn't for cuDNN; empty if it is.
std::string other_than_plain(const AttentionOptions& options, const Tensor& q_BTHD, const Tensor& k_BSKD) {
  if (q_BTHD.dtype() != DType::kBfloat16) return "numbers are float32";
  if (options.window != 0) return "there is a window";
  if (options.alibi_slopes_H) return "there are ALiBi slopes";
  if (options.query_documents_BT) return "there are documents";
  if (options.dropout) return "there is dropout";
  if (options.causal && q_BTHD.dim(1) != k_BSKD.dim(1)) return "queries are fewer than keys and causal";
  if (k_BSKD.num_elements() == 0) return "there is no key";
  return {};
}

bool is_aligned(const Tensor& x_BTHD) {
  bool aligned = reinterpret_cast<std::uintptr_t>(x_BTHD.raw_data()) % 16 == 0 && x_BTHD.dim(3) % 8 == 0;
  for (int dim = 0; dim < 3; ++dim) aligned = aligned && x_BTHD.stride(dim) % 8 == 0;
  return aligned;
}

void say_once(const std::string& why) {
  static std::mutex mutex;
  static std::set<std::string> said;
  const std::lock_guard lock(mutex);
  if (said.insert(why).second) LOG(INFO) << "attention of ours takes the place of cuDNN's: " << why;
}

Strides strides_of(const Tensor& x_BTHD) {
  return {x_BTHD.stride(0), x_BTHD.stride(1), x_BTHD.stride(2)};
}

AttentionShape shape_of(const Tensor& out_BTHD, const Tensor& lse_BHT, const Tensor& q_BTHD,
                        const Tensor& k_BSKD, const Tensor& v_BSKD, const AttentionOptions& options) {
  return {.num_sequences = q_BTHD.dim(0),
          .num_queries = q_BTHD.dim(1),
          .num_keys = k_BSKD.dim(1),
          .num_heads = q_BTHD.dim(2),
          .num_kv_heads = k_BSKD.dim(2),
          .width = q_BTHD.dim(3),
          .is_causal = options.causal,
          .has_stats = static_cast<bool>(lse_BHT),
          .scale = options.scale,
          .q = strides_of(q_BTHD),
          .k = strides_of(k_BSKD),
          .v = strides_of(v_BSKD),
          .out = strides_of(out_BTHD)};
}

bool is_recorded(const StreamState& stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  TRIREME_CUDA(cudaStreamIsCapturing(stream.handle(), &status));
  return status != cudaStreamCaptureStatusNone;
}

bool is_hopper_or_later(Device device) {
  int major = 0;
  TRIREME_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index));
  return major >= 9;
}

using Work = std::function<void()>;

bool is_quicker(const Work& cudnns, const Work& ours, bool is_backward, const AttentionShape& shape,
                Stream stream) {
  constexpr int kRepetitions = 5;
  const double cudnns_ms = time_ms(cudnns, stream, kRepetitions);
  const double ours_ms = time_ms(ours, stream, kRepetitions);
  LOG(INFO) << "attention " << (is_backward ? "backward" : "forward") << " of " << shape.num_sequences
            << " x " << shape.num_queries << " queries, " << shape.num_keys << " keys, " << shape.num_heads
            << " heads of " << shape.width << (shape.is_causal ? ", causal: " : ": ") << cudnns_ms
            << " ms by cuDNN, " << ours_ms << " ms by ours";
  return cudnns_ms < ours_ms;
}

// A device's handle, and the plans made with it.
class Plans {
 public:
  static Plans& of(Device device) {
    static std::mutex mutex;
    // Never destroyed: at the end of the process parts of cuDNN may be gone before.
    static auto& all = *new std::map<int, Plans>;
    const std::lock_guard lock(mutex);
    return all[device.index];
  }

  // False where cuDNN refuses, or `rival`, if there is one, is quicker.  No time is taken while a graph is
  // recorded: a rival that isn't known to be slower has won then.
  bool execute(bool is_backward, const AttentionShape& shape, const Pointers& pointers, const Work* rival,
               Stream stream) {
    const std::lock_guard lock(mutex_);
    Known* const known = find(is_backward, shape, *stream.cuda());
    if (known == nullptr || known->plan == nullptr) return false;
    // What a plan can't do is known when it is made: from here on errors are the device's.
    const auto work = [&] {
      try {
        known->plan->execute(handle_, pointers, shape.scale, *stream.cuda());
      } catch (const Refused& error) {
        LOG(FATAL) << "attention of cuDNN: " << error.what();
      }
    };
    if (rival != nullptr) {
      if (!known->is_quicker && is_recorded(*stream.cuda())) return false;
      if (!known->is_quicker) known->is_quicker = is_quicker(work, *rival, is_backward, shape, stream);
      if (!*known->is_quicker) return false;
    }
    work();
    return true;
  }

 private:
  // Of a shape, forward or backward.
  struct Known {
    std::unique_ptr<Plan> plan;      // null: cuDNN refuses
    std::optional<bool> is_quicker;  // than ours, if that was asked
  };

  // Null where cuDNN can't be asked: a plan is not made while a graph is recorded.
  Known* find(bool is_backward, const AttentionShape& shape, const StreamState& stream) {
    if (!known_.contains({is_backward, shape}) && is_recorded(stream)) {
      say_once("a shape came up first in a graph");
      return nullptr;
    }
    const auto [place, is_new] = known_.try_emplace({is_backward, shape});
    if (is_new) {
      try {
        if (handle_ == nullptr) check(cudnnCreate(&handle_), "cudnnCreate");
        place->second.plan = std::make_unique<Plan>(
            is_backward ? AttentionGraph::backward(shape, handle_) : AttentionGraph::forward(shape, handle_),
            handle_);
      } catch (const Refused& refused) {
        say_once(refused.what());
      }
    }
    return &place->second;
  }

  std::mutex mutex_;
  cudnnHandle_t handle_ = nullptr;  // until the process ends
  std::map<std::pair<bool, AttentionShape>, Known> known_;
};

bool is_for_cudnn(const AttentionOptions& options, const Tensor& q_BTHD, const Tensor& k_BSKD,
                  std::initializer_list<Tensor> all, Device device) {
  if (options.library == AttentionLibrary::kQuicker && !is_hopper_or_later(device)) return false;
  std::string why = other_than_plain(options, q_BTHD, k_BSKD);
  for (const Tensor& x : all) {
    if (why.empty() && !is_aligned(x)) why = "rows are not aligned to 16 bytes";
  }
  if (!why.empty()) say_once(why);
  return why.empty();
}

const Work* rival_of(const AttentionOptions& options, const Work& ours) {
  return options.library == AttentionLibrary::kQuicker ? &ours : nullptr;
}

}  // namespace

bool attention_forward(Tensor out_BTHD, Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                       const AttentionOptions& options, const Work& ours, Stream stream) {
  if (!is_for_cudnn(options, q_BTHD, k_BSKD, {out_BTHD, q_BTHD, k_BSKD, v_BSKD}, stream.device()))
    return false;
  const AttentionShape shape = shape_of(out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options);
  Pointers pointers = {
      {kQ, q_BTHD.raw_data()}, {kK, k_BSKD.raw_data()}, {kV, v_BSKD.raw_data()}, {kOut, out_BTHD.raw_data()}};
  if (lse_BHT) pointers[kStats] = lse_BHT.raw_data();
  return Plans::of(stream.device()).execute(false, shape, pointers, rival_of(options, ours), stream);
}

bool attention_backward(Tensor dq_BTHD, Tensor dk_BSKD, Tensor dv_BSKD, Tensor dout_BTHD, Tensor out_BTHD,
                        Tensor lse_BHT, Tensor q_BTHD, Tensor k_BSKD, Tensor v_BSKD,
                        const AttentionOptions& options, const Work& ours, Stream stream) {
  if (!is_for_cudnn(options, q_BTHD, k_BSKD,
                    {dq_BTHD, dk_BSKD, dv_BSKD, dout_BTHD, out_BTHD, q_BTHD, k_BSKD, v_BSKD},
                    stream.device()))
    return false;
  if (options.deterministic) {
    say_once("backward must be deterministic");
    return false;
  }
  AttentionShape shape = shape_of(out_BTHD, lse_BHT, q_BTHD, k_BSKD, v_BSKD, options);
  shape.dout = strides_of(dout_BTHD);
  shape.dq = strides_of(dq_BTHD);
  shape.dk = strides_of(dk_BSKD);
  shape.dv = strides_of(dv_BSKD);
  void* sum = stream.cuda()->scratch(lse_BHT.num_elements() * static_cast<std::int64_t>(sizeof(float)));
  const Pointers pointers = {{kQ, q_BTHD.raw_data()},      {kK, k_BSKD.raw_data()},
                             {kV, v_BSKD.raw_data()},      {kOut, out_BTHD.raw_data()},
                             {kStats, lse_BHT.raw_data()}, {kDout, dout_BTHD.raw_data()},
                             {kDq, dq_BTHD.raw_data()},    {kDk, dk_BSKD.raw_data()},
                             {kDv, dv_BSKD.raw_data()},    {kSum, sum}};
  return Plans::of(stream.device()).execute(true, shape, pointers, rival_of(options, ours), stream);
}

}  // namespace trireme::cuda::cudnn
