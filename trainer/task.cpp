#include "trainer/task.h"

#include "data/manifest.h"
#include "data/user_error.h"
#include "trainer/language_model_task.h"
#include "trainer/masked_language_model_task.h"
#include "trainer/translation_task.h"

namespace trireme {

std::unique_ptr<Task> make_task(const Config& config, Mesh& mesh, Stream stream) {
  const bool is_of_pairs = load_manifest(config.data.path).content == Content::kPairs;
  const bool translates = config.model.kind == "encoder_decoder";
  if (is_of_pairs != translates) {
    throw UserError("model.kind",
                    "is " + config.model.kind + ", but " + config.data.path + " holds " +
                        (is_of_pairs ? "pairs of sentences" : "plain text"),
                    is_of_pairs ? "set model.kind=encoder_decoder, or name a data set of text"
                                : "set model.kind=decoder or encoder, or name a data set of pairs");
  }
  if (translates) return std::make_unique<TranslationTask>(config, mesh, stream);
  if (config.model.kind == "encoder") return std::make_unique<MaskedLanguageModelTask>(config, mesh, stream);
  return std::make_unique<LanguageModelTask>(config, mesh, stream);
}

}  // namespace trireme
