// A trained model, out of its run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "data/tokenizer/tokenizer.h"
#include "parallel/communicator.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/model/encoder_decoder.h"
#include "trainer/model/masked_language_model.h"
#include "trainer/model/transformer.h"

namespace trireme {

template <typename Model>
struct Trained {
  std::filesystem::path checkpoint;  // where it came from: the newest, if from several
  TrainState state;
  std::unique_ptr<DeviceStream> stream;  // of the model
  std::unique_ptr<Model> model;          // not allocated
  std::unique_ptr<Tokenizer> tokenizer;
};
using TrainedModel = Trained<Transformer>;
using TrainedTranslator = Trained<EncoderDecoder>;
using TrainedMaskedModel = Trained<MaskedLanguageModel>;

// The checkpoint that `path` means: itself, or of a run's directory the newest.  UserError if there is none.
std::filesystem::path checkpoint_at(const std::filesystem::path& path);
// The run's directory in which a checkpoint lies.
std::filesystem::path run_of(const std::filesystem::path& checkpoint);

// What the checkpoint that the functions below would take is of.
ModelKind kind_of_model(const std::filesystem::path& path);

// `path` is a run's directory, of which the newest checkpoint is taken, or one checkpoint's folder.  Every
// rank calls them, and has the model on this device.  Throw UserError when there is none, or it is damaged,
// or of another kind of model.
TrainedModel load_model(const std::filesystem::path& path, Communicator& communicator, Device device = {});
TrainedMaskedModel load_masked_model(const std::filesystem::path& path, Communicator& communicator,
                                     Device device = {});
// `average` > 1: the mean of the parameters of that checkpoint and those before it in its run, as many in all
// ("Attention Is All You Need", section 6.1).  UserError if there are fewer.
TrainedTranslator load_translator(const std::filesystem::path& path, std::int64_t average,
                                  Communicator& communicator, Device device = {});

}  // namespace trireme
