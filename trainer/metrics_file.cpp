#include "trainer/metrics_file.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "data/durable_file.h"
#include "data/json.h"

namespace trireme {
namespace {

struct Entry {
  std::variant<AttemptMetrics, StepMetrics, ValidationMetrics> content;
  double time = 0;

  template <typename Content>
  const Content* as() const {
    return std::get_if<Content>(&content);
  }
};

double seconds_since_1970() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count() / 1e3;
}

// The members of a line about training, by the names they are stored under, besides `step`.
template <typename Metrics, typename Visit>
void for_each_member(Metrics& metrics, Visit visit) {
  visit("steps", metrics.steps);
  visit("loss", metrics.loss);
  visit("learning_rate", metrics.learning_rate);
  visit("grad_norm", metrics.grad_norm);
  visit("tokens_per_second", metrics.tokens_per_second);
  visit("share_of_peak", metrics.share_of_peak);
  visit("data_wait", metrics.data_wait);
  visit("tokens", metrics.tokens);
  visit("skipped_steps", metrics.skipped_steps);
  visit("elapsed_s", metrics.elapsed_s);
  visit("remaining_s", metrics.remaining_s);
}

template <typename Axis, typename Visit>
void for_each_traffic_member(Axis& axis, Visit visit) {
  visit("bytes_per_step", axis.bytes_per_step);
  visit("busy_s", axis.busy_s);
  visit("hidden", axis.hidden);
}

constexpr const char* kTrafficMember = "traffic";
constexpr const char* kEntropyMember = "attention_entropy";

// Leaves out what is no table of numbers.
void read_entropies(const Json& json, AttentionEntropies& entropies) {
  const auto found = json.find(kEntropyMember);
  if (found == json.end() || !found->is_object()) return;
  for (std::size_t kind = 0; kind < kNumAttentionKinds; ++kind) {
    const auto layers = found->find(kAttentionKindNames[kind]);
    if (layers == found->end() || !layers->is_array()) continue;
    for (const Json& heads : *layers) {
      std::vector<double>& row = entropies.layers[kind].emplace_back();
      for (const Json& head : heads) {
        row.push_back(head.is_number() ? head.get<double>() : std::numeric_limits<double>::quiet_NaN());
      }
    }
  }
}

std::string line_of(const Json& json) {
  return json.dump() + "\n";
}

// Whether the member was there, of its type; null stands for a number that is not finite.
template <typename Value>
bool read_member(const Json& json, const char* name, Value& value) {
  const auto found = json.find(name);
  if (found == json.end()) return false;
  if (std::is_same_v<Value, double> && found->is_null()) {
    value = static_cast<Value>(std::numeric_limits<double>::quiet_NaN());
    return true;
  }
  if (!found->is_number() || (std::is_integral_v<Value> && !found->is_number_integer())) return false;
  value = found->get<Value>();
  return true;
}

// Leaves out what is no table of an axis.
std::vector<AxisTraffic> read_traffic(const Json& json) {
  std::vector<AxisTraffic> traffic;
  const auto found = json.find(kTrafficMember);
  if (found == json.end() || !found->is_object()) return traffic;
  for (const auto& [name, members] : found->items()) {
    AxisTraffic axis{.axis = name};
    bool whole = members.is_object();
    for_each_traffic_member(axis, [&](const char* member, double& value) {
      whole = whole && read_member(members, member, value);
    });
    if (whole) traffic.push_back(axis);
  }
  return traffic;
}

// Nothing if it is no line of ours.
std::optional<Entry> parsed(std::string_view line) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  std::int64_t step = 0;
  if (!json.is_object() || !read_member(json, "step", step)) return std::nullopt;
  double time = 0;
  read_member(json, "time", time);
  if (json.contains("event")) {
    AttemptMetrics attempt{.start_step = step};
    read_member(json, "repeated_steps", attempt.repeated_steps);
    read_member(json, "elapsed_s", attempt.elapsed_s);
    return Entry{attempt, time};
  }
  ValidationMetrics validation{.step = step};
  if (read_member(json, "validation_loss", validation.found.loss)) {
    double score = 0;
    if (read_member(json, "bleu", score)) validation.found.bleu = score;
    if (read_member(json, "accuracy", score)) validation.found.accuracy = score;
    if (read_member(json, "mean_loops", score)) validation.found.mean_loops = score;
    read_entropies(json, validation.found.attention_entropies);
    return Entry{validation, time};
  }
  StepMetrics metrics;
  metrics.step = step;
  bool whole = true;
  for_each_member(metrics,
                  [&](const char* name, auto& value) { whole = read_member(json, name, value) && whole; });
  if (!whole) return std::nullopt;
  double objective = 0;
  if (read_member(json, "objective", objective)) metrics.objective = objective;
  metrics.traffic = read_traffic(json);
  PipelineBubble bubble;
  if (read_member(json, "bubble", bubble.measured) && read_member(json, "bubble_forecast", bubble.forecast))
    metrics.bubble = bubble;
  return Entry{metrics, time};
}

// Calls visit(line with its end, entry or nothing) for each line of a file's text.
template <typename Visit>
void for_each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const bool torn = end == std::string_view::npos;
    const std::string_view line = text.substr(0, torn ? text.size() : end + 1);
    visit(line, torn ? std::nullopt : parsed(line));
    text.remove_prefix(line.size());
  }
}

}  // namespace

std::int64_t MetricsHistory::last_step() const {
  return steps.empty() ? 0 : steps.back().step;
}

double MetricsHistory::elapsed_s() const {
  const double before = attempts.empty() ? 0 : attempts.back().elapsed_s;
  return steps.empty() ? before : std::max(before, steps.back().elapsed_s);
}

std::string metrics_line(const AttemptMetrics& attempt) {
  return line_of({{"event", "start"},
                  {"step", attempt.start_step},
                  {"time", seconds_since_1970()},
                  {"repeated_steps", attempt.repeated_steps},
                  {"elapsed_s", attempt.elapsed_s}});
}

std::string metrics_line(const StepMetrics& metrics) {
  Json json = {{"step", metrics.step}, {"time", seconds_since_1970()}};
  for_each_member(metrics, [&](const char* name, const auto& value) { json[name] = value; });
  if (metrics.objective) json["objective"] = *metrics.objective;
  if (metrics.bubble) {
    json["bubble"] = metrics.bubble->measured;
    json["bubble_forecast"] = metrics.bubble->forecast;
  }
  for (const AxisTraffic& axis : metrics.traffic) {
    Json& members = json[kTrafficMember][axis.axis];
    for_each_traffic_member(axis, [&](const char* name, double value) { members[name] = value; });
  }
  return line_of(json);
}

std::string metrics_line(const ValidationMetrics& validation) {
  Json json = {{"step", validation.step},
               {"time", seconds_since_1970()},
               {"validation_loss", validation.found.loss},
               {"perplexity", std::exp(validation.found.loss)}};
  if (validation.found.bleu) json["bleu"] = *validation.found.bleu;
  if (validation.found.accuracy) json["accuracy"] = *validation.found.accuracy;
  if (validation.found.mean_loops) json["mean_loops"] = *validation.found.mean_loops;
  for (std::size_t kind = 0; kind < kNumAttentionKinds; ++kind) {
    const auto& layers = validation.found.attention_entropies.layers[kind];
    if (!layers.empty()) json[kEntropyMember][kAttentionKindNames[kind]] = layers;
  }
  return line_of(json);
}

MetricsHistory read_metrics(const std::filesystem::path& path) {
  MetricsHistory history;
  for_each_line(read_whole_file(path), [&](std::string_view, const std::optional<Entry>& entry) {
    if (!entry) return;
    history.last_time = entry->time;
    if (const auto* attempt = entry->as<AttemptMetrics>()) history.attempts.push_back(*attempt);
    if (const auto* metrics = entry->as<StepMetrics>()) history.steps.push_back(*metrics);
    if (const auto* validation = entry->as<ValidationMetrics>()) history.validations.push_back(*validation);
  });
  return history;
}

void drop_metrics_after(const std::filesystem::path& path, std::int64_t step) {
  const std::string text = read_whole_file(path);
  std::string kept;
  for_each_line(text, [&](std::string_view line, const std::optional<Entry>& entry) {
    if (!entry) return;
    const auto* metrics = entry->as<StepMetrics>();
    const auto* validation = entry->as<ValidationMetrics>();
    const bool later =
        (metrics != nullptr && metrics->step > step) || (validation != nullptr && validation->step > step);
    if (!later) kept += line;
  });
  if (kept.size() != text.size()) write_durably(path, kept, IfExists::kReplace);
}

}  // namespace trireme
