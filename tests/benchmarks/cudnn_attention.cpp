#include "tests/benchmarks/cudnn_attention.h"

#if TRIREME_HAS_CUDNN_FRONTEND

#include <unordered_map>

#include <cudnn_frontend.h>
#include <glog/logging.h>

#include "kernels/buffer.h"

namespace trireme {
namespace {

namespace fe = cudnn_frontend;

// Numbers of the graphs' tensors.
enum Id : std::int64_t { kQ = 1, kK, kV, kOut, kStats, kDout, kDq, kDk, kDv };

fe::graph::Tensor_attributes describe(Id id, const Tensor& x_BTHD) {
  // cuDNN's order is [B, H, T, D], with any strides.
  return fe::graph::Tensor_attributes()
      .set_uid(id)
      .set_dim({x_BTHD.dim(0), x_BTHD.dim(2), x_BTHD.dim(1), x_BTHD.dim(3)})
      .set_stride({x_BTHD.stride(0), x_BTHD.stride(2), x_BTHD.stride(1), 1});
}

fe::graph::Tensor_attributes describe_stats(const Tensor& lse_BHT) {
  return fe::graph::Tensor_attributes()
      .set_uid(kStats)
      .set_data_type(fe::DataType_t::FLOAT)
      .set_dim({lse_BHT.dim(0), lse_BHT.dim(1), lse_BHT.dim(2), 1})
      .set_stride({lse_BHT.stride(0), lse_BHT.stride(1), 1, 1});
}

class Plan final : public CudnnAttention {
 public:
  Plan(const CudnnOperands& x, bool causal, float scale, void* stream, std::string* why_not) {
    if (cudnnCreate(&handle_) != CUDNN_STATUS_SUCCESS) {
      *why_not = "cuDNN finds no GPU";
      return;
    }
    cudnnSetStream(handle_, static_cast<cudaStream_t>(stream));
    for (fe::graph::Graph* graph : {&forward_, &backward_}) {
      graph->set_io_data_type(fe::DataType_t::BFLOAT16)
          .set_intermediate_data_type(fe::DataType_t::FLOAT)
          .set_compute_data_type(fe::DataType_t::FLOAT);
    }
    const auto result = [](auto& tensor, const fe::graph::Tensor_attributes& like) {
      tensor->set_output(true).set_uid(like.get_uid()).set_dim(like.get_dim()).set_stride(like.get_stride());
      if (like.get_uid() == kStats) tensor->set_data_type(fe::DataType_t::FLOAT);
    };
    auto [out, stats] = forward_.sdpa(
        forward_.tensor(describe(kQ, x.q_BTHD)), forward_.tensor(describe(kK, x.k_BTHD)),
        forward_.tensor(describe(kV, x.v_BTHD)),
        fe::graph::SDPA_attributes().set_generate_stats(true).set_causal_mask(causal).set_attn_scale(scale));
    result(out, describe(kOut, x.out_BTHD));
    result(stats, describe_stats(x.lse_BHT));
    auto [dq, dk, dv] = backward_.sdpa_backward(
        backward_.tensor(describe(kQ, x.q_BTHD)), backward_.tensor(describe(kK, x.k_BTHD)),
        backward_.tensor(describe(kV, x.v_BTHD)), backward_.tensor(describe(kOut, x.out_BTHD)),
        backward_.tensor(describe(kDout, x.dout_BTHD)), backward_.tensor(describe_stats(x.lse_BHT)),
        fe::graph::SDPA_backward_attributes().set_causal_mask(causal).set_attn_scale(scale));
    result(dq, describe(kDq, x.dq_BTHD));
    result(dk, describe(kDk, x.dk_BTHD));
    result(dv, describe(kDv, x.dv_BTHD));
    std::int64_t workspace_bytes = 0;
    for (fe::graph::Graph* graph : {&forward_, &backward_}) {
      auto status = graph->build(handle_, {fe::HeurMode_t::A});
      if (status.is_bad()) {
        *why_not = status.get_message();
        return;
      }
      workspace_bytes = std::max(workspace_bytes, graph->get_workspace_size());
    }
    workspace_ = Buffer(workspace_bytes, x.q_BTHD.device());
    pointers_ = {
        {kQ, x.q_BTHD.raw_data()},     {kK, x.k_BTHD.raw_data()},      {kV, x.v_BTHD.raw_data()},
        {kOut, x.out_BTHD.raw_data()}, {kStats, x.lse_BHT.raw_data()}, {kDout, x.dout_BTHD.raw_data()},
        {kDq, x.dq_BTHD.raw_data()},   {kDk, x.dk_BTHD.raw_data()},    {kDv, x.dv_BTHD.raw_data()}};
    is_ready_ = true;
  }
  ~Plan() override {
    if (handle_ != nullptr) cudnnDestroy(handle_);
  }

  bool is_ready() const { return is_ready_; }
  void forward() override { execute(forward_, {kQ, kK, kV, kOut, kStats}); }
  void backward() override { execute(backward_, {kQ, kK, kV, kOut, kStats, kDout, kDq, kDk, kDv}); }

 private:
  void execute(fe::graph::Graph& graph, std::initializer_list<Id> ids) {
    std::unordered_map<std::int64_t, void*> pack;
    for (const Id id : ids) pack[id] = pointers_.at(id);
    auto status = graph.execute(handle_, pack, workspace_.data());
    CHECK(status.is_good()) << status.get_message();
  }

  cudnnHandle_t handle_ = nullptr;
  fe::graph::Graph forward_, backward_;
  std::unordered_map<std::int64_t, void*> pointers_;
  Buffer workspace_;
  bool is_ready_ = false;
};

}  // namespace

std::unique_ptr<CudnnAttention> CudnnAttention::make(const CudnnOperands& operands, bool causal, float scale,
                                                     void* stream, std::string* why_not) {
  auto plan = std::make_unique<Plan>(operands, causal, scale, stream, why_not);
  if (!plan->is_ready()) return nullptr;
  return plan;
}

}  // namespace trireme

#else

namespace trireme {

std::unique_ptr<CudnnAttention> CudnnAttention::make(const CudnnOperands&, bool, float, void*,
                                                     std::string* why_not) {
  *why_not =
      "built without cudnn_frontend.h (pip install nvidia-cudnn-frontend, cmake "
      "-DTRIREME_CUDNN_FRONTEND=...)";
  return nullptr;
}

}  // namespace trireme

#endif
