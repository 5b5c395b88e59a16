#include "trainer/evaluate_masked.h"

#include <algorithm>

#include "data/loader.h"
#include "data/sampler.h"
#include "kernels/buffer.h"
#include "kernels/elementwise.h"
#include "kernels/host_copy.h"
#include "trainer/batch_tensors.h"
#include "trainer/loss_sum.h"

namespace trireme {

MaskedTokens tensors_of(const MaskedBatch& batch, TokenUpload& upload) {
  const auto tensor = [&](const std::vector<std::int32_t>& numbers) {
    return upload.bring({const_cast<std::int32_t*>(numbers.data()),
                         DType::kInt32,
                         {static_cast<std::int64_t>(numbers.size())}});
  };
  return {.rows_M = tensor(batch.rows), .targets_M = tensor(batch.targets)};
}

Masking validation_masking(const Tokenizer& tokenizer, double probability) {
  return {.probability = probability,
          .mask_token = mask_token_of(tokenizer),
          .vocabulary = tokenizer.vocab_size(),
          .seed = 0};
}

MaskedScore evaluate_masked(MaskedLanguageModel& model, TokenDataset& data, const Masking& masking,
                            Documents documents, std::int64_t sequences, std::int64_t microbatch,
                            Communicator& data_axis, LoopCount* loops) {
  const std::int64_t context = model.options().context;
  sequences = std::min(sequences, Sampler::windows_in(data.num_tokens(), context));
  const RowRange rows = rows_of_rank(sequences, data_axis.rank(), data_axis.size());
  const Stream stream = model.stream();
  const LossSum loss(stream);
  TokenUpload upload(stream);
  const Buffer hits_memory(size_bytes(DType::kInt32), stream.device());
  const Tensor hits_1 = hits_memory.tensor(DType::kInt32, {1});
  fill(hits_1, 0.0F, stream);
  Batch batch;
  MaskedBatch masked;
  for (std::int64_t first = rows.begin; first < rows.end; first += microbatch) {
    const std::int64_t count = std::min(microbatch, rows.end - first);
    read_windows(data, first, count, context, documents, batch);
    upload.begin();
    const BatchTensors tensors(batch, upload);
    mask_tokens(batch.inputs, context, first, masking, masked);
    model.forward_loss(loss.tensor(), hits_1,
                       upload.bring({masked.inputs.data(), DType::kInt32, {count, context}}),
                       tensors_of(masked, upload),
                       {.batch = count,
                        .sequence = context,
                        .documents_BT = tensors.documents_BT,
                        .positions_BT = tensors.positions_BT,
                        .loop_count = loops,
                        .stream = stream});
  }
  std::int32_t hits = host_copy<std::int32_t>(hits_1, stream).front();
  const double loss_sum = loss.over(data_axis);
  data_axis.wait(data_axis.all_reduce({&hits, DType::kInt32, {1}}, ReduceOp::kSum, {}), {});
  const auto targets = static_cast<double>(sequences * num_masked(context, masking.probability));
  return {.loss = loss_sum / targets, .accuracy = hits / targets};
}

AttentionEntropies evaluate_attention(MaskedLanguageModel& model, TokenDataset& data, const Masking& masking,
                                      Documents documents, std::int64_t sequences, Communicator& data_axis) {
  const std::int64_t context = model.options().context;
  TokenUpload upload(model.stream());
  Batch batch;
  MaskedBatch masked;
  const auto pass = [&](std::int64_t i, AttentionObserver& observer) {
    read_windows(data, i, 1, context, documents, batch);
    upload.begin();
    const BatchTensors tensors(batch, upload);
    mask_tokens(batch.inputs, context, i, masking, masked);
    model.hidden_states(upload.bring({masked.inputs.data(), DType::kInt32, {1, context}}),
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
