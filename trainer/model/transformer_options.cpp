#include "trainer/model/transformer_options.h"

#include <nlohmann/json.hpp>

#include "data/user_error.h"

namespace trireme {
namespace {

// The keys under which the options are stored, each with its member.
template <typename Options, typename Visit>
void for_each_option(Options& options, Visit visit) {
  visit("layers", options.layers);
  visit("width", options.width);
  visit("heads", options.heads);
  visit("feed_forward", options.feed_forward);
  visit("context", options.context);
  visit("vocabulary", options.vocabulary);
  visit("init_stddev", options.init_stddev);
  visit("dropout", options.dropout);
}

}  // namespace

TransformerOptions TransformerOptions::from_config(const ModelConfig& config, std::int64_t vocabulary) {
  return {.layers = config.layers,
          .width = config.width,
          .heads = config.heads,
          .feed_forward = config.feed_forward > 0 ? config.feed_forward : 4 * config.width,
          .context = config.context,
          .vocabulary = vocabulary,
          .init_stddev = static_cast<float>(config.init_stddev),
          .dropout = static_cast<float>(config.dropout)};
}

TransformerOptions TransformerOptions::from_json(const std::string& json, const std::string& source) {
  TransformerOptions options;
  const auto parsed = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  for_each_option(options, [&](const char* key, auto& member) {
    if (!parsed.is_object() || !parsed.contains(key) || !parsed[key].is_number()) {
      throw UserError(source, std::string("the model's description lacks the number \"") + key + "\"",
                      "use a checkpoint that trireme wrote");
    }
    member = parsed[key].get<std::remove_reference_t<decltype(member)>>();
  });
  return options;
}

std::string TransformerOptions::to_json() const {
  nlohmann::ordered_json json;
  for_each_option(*this, [&](const char* key, const auto& member) { json[key] = member; });
  return json.dump();
}

}  // namespace trireme
