// To translate: an encoder-decoder on pairs of sentences, in batches of like lengths.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/pair_dataset.h"
#include "data/pair_loader.h"
#include "data/tokenizer/tokenizer.h"
#include "trainer/model/encoder_decoder.h"
#include "trainer/model_stage.h"
#include "trainer/task.h"
#include "trainer/token_upload.h"

namespace trireme {

class TranslationTask : public Task {
 public:
  TranslationTask(const Config& config, Mesh& mesh, Stream stream = {});

  ParameterBuffer& parameters() override { return model_.parameters(); }
  std::string model_json() const override { return model_.options().to_json(); }
  const std::string& dataset_id() const override { return training_data_.id(); }
  const std::filesystem::path& data_folder() const override { return training_data_.folder(); }

  void start(std::int64_t samples_consumed) override;
  StepSize read_batch() override;
  void accumulate_gradients(Tensor loss_2, GradientReducer& reducer, std::int64_t step,
                            Stream stream) override;
  Validation validate() override;
  std::optional<PipelineBubble> take_bubble() override { return runner_.take_bubble({}); }
  double seconds_waited() const override { return loader_->seconds_waited(); }

 private:
  using Stage = ModelStage<EncoderDecoder, PairTensors>;

  // The most tokens on a side that this rank ever computes at once.
  std::int64_t microbatch_tokens() const;
  // Makes the memory of microbatches in flight, if there isn't enough.
  void allocate_slots(int slots);
  // Room for those, and for validation.
  std::int64_t allocated_tokens() const;

  const Config config_;
  Mesh& mesh_;
  PairDataset training_data_;
  PairDataset validation_data_;
  std::unique_ptr<Tokenizer> tokenizer_;
  const TransformerOptions options_;
  EncoderDecoder model_;
  TokenUpload upload_;
  PipelineRunner runner_;
  int num_slots_ = 0;
  std::unique_ptr<PairLoader> loader_;
  std::vector<PairBatch> batches_;    // of the step
  std::vector<PairTensors> tensors_;  // of each
};

}  // namespace trireme
