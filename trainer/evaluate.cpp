#include "trainer/evaluate.h"

#include <algorithm>

#include "data/loader.h"
#include "data/sampler.h"
#include "trainer/batch_tensors.h"

namespace trireme {

double evaluate_loss(Transformer& model, TokenDataset& data, Documents documents, std::int64_t sequences,
                     std::int64_t microbatch, Communicator& data_axis, LoopCount* loops) {
  const std::int64_t context = model.options().context;
  sequences = std::min(sequences, Sampler::windows_in(data.num_tokens(), context));
  const RowRange rows = rows_of_rank(sequences, data_axis.rank(), data_axis.size());
  const Stream stream;
  float loss_sum = 0.0F;
  const Tensor loss_1(&loss_sum, DType::kFloat32, {1});
  Batch batch;
  for (std::int64_t first = rows.begin; first < rows.end; first += microbatch) {
    const std::int64_t count = std::min(microbatch, rows.end - first);
    read_windows(data, first, count, context, documents, batch);
    const BatchTensors tensors(batch);
    model.forward_loss(loss_1, tensors.inputs_BT, tensors.targets_BT,
                       {.batch = count,
                        .sequence = context,
                        .documents_BT = tensors.documents_BT,
                        .positions_BT = tensors.positions_BT,
                        .loop_count = loops,
                        .stream = stream});
  }
  data_axis.wait(data_axis.all_reduce(loss_1, ReduceOp::kSum, stream), stream);
  return loss_sum / static_cast<double>(sequences * context);
}

AttentionEntropies evaluate_attention(Transformer& model, TokenDataset& data, Documents documents,
                                      std::int64_t sequences, Communicator& data_axis) {
  const std::int64_t context = model.options().context;
  float loss = 0.0F;
  Batch batch;
  const auto pass = [&](std::int64_t i, AttentionObserver& observer) {
    read_windows(data, i, 1, context, documents, batch);
    const BatchTensors tensors(batch);
    model.forward_loss({&loss, DType::kFloat32, {1}}, tensors.inputs_BT, tensors.targets_BT,
                       {.batch = 1,
                        .sequence = context,
                        .documents_BT = tensors.documents_BT,
                        .positions_BT = tensors.positions_BT,
                        .attention_observer = &observer});
  };
  return mean_attention_entropies(std::min(sequences, Sampler::windows_in(data.num_tokens(), context)), pass,
                                  data_axis);
}

}  // namespace trireme
