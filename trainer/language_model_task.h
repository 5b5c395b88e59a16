// To go on with a text: a decoder on windows of one long stream of tokens.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/loader.h"
#include "data/token_dataset.h"
#include "trainer/batch_tensors.h"
#include "trainer/model/transformer.h"
#include "trainer/model_stage.h"
#include "trainer/task.h"

namespace trireme {

class LanguageModelTask : public Task {
 public:
  LanguageModelTask(const Config& config, Mesh& mesh, Stream stream = {});

  ParameterBuffer& parameters() override { return model_.parameters(); }
  std::string model_json() const override { return model_.options().to_json(); }
  const std::string& dataset_id() const override { return training_data_.id(); }
  const std::filesystem::path& data_folder() const override { return training_data_.folder(); }

  void start(std::int64_t samples_consumed) override;
  StepSize read_batch() override;
  void accumulate_gradients(Tensor loss_2, GradientReducer& reducer, std::int64_t step,
                            Stream stream) override;
  std::optional<int> alike() const override;
  Validation validate() override;
  std::optional<PipelineBubble> take_bubble() override { return runner_.take_bubble({}); }
  double seconds_waited() const override { return loader_->seconds_waited(); }

 private:
  using Stage = ModelStage<Transformer, TextTensors>;

  std::int64_t microbatch_sequences() const;

  const Config config_;
  const std::int64_t batch_sequences_;  // of the global batch
  Mesh& mesh_;
  TokenDataset training_data_;
  TokenDataset validation_data_;
  const TransformerOptions options_;
  Transformer model_;
  TokenUpload upload_;
  PipelineRunner runner_;
  BatchPlan plan_;
  std::unique_ptr<Loader> loader_;
  std::vector<Batch> batches_;  // of the step
  std::vector<BatchTensors> tensors_;
};

}  // namespace trireme
