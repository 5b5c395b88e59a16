// To fill in masked tokens: an encoder on windows of one long stream of tokens.
#pragma once

#include <memory>
#include <string>

#include "data/loader.h"
#include "data/masking.h"
#include "data/token_dataset.h"
#include "data/tokenizer/tokenizer.h"
#include "trainer/model/masked_language_model.h"
#include "trainer/task.h"
#include "trainer/token_upload.h"

namespace trireme {

// What is masked depends on the run's seed and the number of the sample alone, and so on no layout of ranks;
// a window that comes again, in another epoch, is masked anew.
class MaskedLanguageModelTask : public Task {
 public:
  MaskedLanguageModelTask(const Config& config, Mesh& mesh, Stream stream = {});

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
  double seconds_waited() const override { return loader_->seconds_waited(); }

 private:
  struct Microbatch {
    Batch batch;
    MaskedBatch masked;
    // What the model takes of both.
    Tensor inputs_BT;
    MaskedTokens targets;
    Tensor documents_BT;
    Tensor positions_BT;
  };

  std::int64_t microbatch_sequences() const;
  // Of so many sequences.
  std::int64_t predictions(std::int64_t sequences) const;

  const Config config_;
  const std::int64_t batch_sequences_;  // of the global batch
  Mesh& mesh_;
  TokenDataset training_data_;
  TokenDataset validation_data_;
  std::unique_ptr<Tokenizer> tokenizer_;
  MaskedLanguageModel model_;
  TokenUpload upload_;
  BatchPlan plan_;
  std::unique_ptr<Loader> loader_;
  std::vector<Microbatch> microbatches_;  // of the step
};

}  // namespace trireme
