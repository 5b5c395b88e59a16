#include "trainer/evaluate.h"

#include <algorithm>

#include "data/loader.h"
#include "data/sampler.h"
#include "trainer/batch_tensors.h"
#include "trainer/loss_sum.h"

namespace trireme {

double evaluate_loss(Transformer& model, TokenDataset& data, Documents documents, std::int64_t sequences,
                     std::int64_t microbatch, Communicator& data_axis) {
  const auto forward_loss = [&](Tensor loss_1, const TextTensors& text, const Pass& pass) {
    model.forward_loss(loss_1, text.inputs_BT, text.targets_BT, pass);
  };
  return evaluate_loss(forward_loss, model.options().context, data, documents, sequences, microbatch,
                       data_axis, model.stream());
}

double evaluate_loss(const ForwardLoss& forward_loss, std::int64_t context, TokenDataset& data,
                     Documents documents, std::int64_t sequences, std::int64_t microbatch,
                     Communicator& data_axis, Stream stream) {
  sequences = std::min(sequences, Sampler::windows_in(data.num_tokens(), context));
  const RowRange rows = rows_of_rank(sequences, data_axis.rank(), data_axis.size());
  const LossSum loss(stream);
  TokenUpload upload(stream);
  Batch batch;
  for (std::int64_t first = rows.begin; first < rows.end; first += microbatch) {
    const std::int64_t count = std::min(microbatch, rows.end - first);
    read_windows(data, first, count, context, documents, batch);
    upload.begin();
    const BatchTensors tensors(batch, upload);
    forward_loss(loss.tensor(), {.inputs_BT = tensors.inputs_BT, .targets_BT = tensors.targets_BT},
                 {.batch = count,
                  .sequence = context,
                  .documents_BT = tensors.documents_BT,
                  .positions_BT = tensors.positions_BT,
                  .stream = stream});
  }
  return loss.over(data_axis) / static_cast<double>(sequences * context);
}

AttentionEntropies evaluate_attention(Transformer& model, TokenDataset& data, Documents documents,
                                      std::int64_t sequences, Communicator& data_axis) {
  const std::int64_t context = model.options().context;
  const LossSum loss(model.stream());
  TokenUpload upload(model.stream());
  Batch batch;
  const auto pass = [&](std::int64_t i, AttentionObserver& observer) {
    read_windows(data, i, 1, context, documents, batch);
    upload.begin();
    const BatchTensors tensors(batch, upload);
    model.forward_loss(loss.tensor(), tensors.inputs_BT, tensors.targets_BT,
                       {.batch = 1,
                        .sequence = context,
                        .documents_BT = tensors.documents_BT,
                        .positions_BT = tensors.positions_BT,
                        .attention_observer = &observer,
                        .stream = model.stream()});
  };
  return mean_attention_entropies(std::min(sequences, Sampler::windows_in(data.num_tokens(), context)), pass,
                                  data_axis);
}

}  // namespace trireme
