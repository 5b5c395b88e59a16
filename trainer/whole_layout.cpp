#include "trainer/whole_layout.h"

#include "trainer/model/encoder_decoder.h"
#include "trainer/model/masked_language_model.h"
#include "trainer/model/transformer.h"

namespace trireme {
namespace {

template <typename Model>
WholeLayout layout_of_model(const TransformerOptions& options) {
  Model model(options, ParameterMemory::kNone);
  return {.entries = layout_of(model.parameters()), .num_elements = model.parameters().num_elements()};
}

}  // namespace

WholeLayout whole_layout(const TransformerOptions& options) {
  switch (options.kind) {
    case ModelKind::kDecoder:
      return layout_of_model<Transformer>(options);
    case ModelKind::kEncoderDecoder:
      return layout_of_model<EncoderDecoder>(options);
    case ModelKind::kEncoder:
      return layout_of_model<MaskedLanguageModel>(options);
  }
  return {};
}

}  // namespace trireme
