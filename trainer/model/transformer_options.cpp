#include "trainer/model/transformer_options.h"

#include <type_traits>

#include "data/json.h"

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
  const Json parsed = parse_json(json, source);
  for_each_option(options, [&](const char* key, auto& member) {
    using Member = std::remove_reference_t<decltype(member)>;
    using Stored = std::conditional_t<std::is_floating_point_v<Member>, double, std::int64_t>;
    member = static_cast<Member>(json_value<Stored>(parsed, key, source));
  });
  return options;
}

std::string TransformerOptions::to_json() const {
  Json json;
  for_each_option(*this, [&](const char* key, const auto& member) { json[key] = member; });
  return json.dump();
}

}  // namespace trireme
