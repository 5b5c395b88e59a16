#include "trainer/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <map>
#include <optional>
#include <sstream>
#include <vector>

#include "data/durable_file.h"
#include "data/user_error.h"
#include "trainer/config.h"
#include "trainer/metrics_file.h"
#include "trainer/readable.h"
#include "trainer/report_chart.h"
#include "trainer/report_style.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

std::string tile(const std::string& name, const std::string& value, const std::string& note = "") {
  return "<div><dt>" + name + "</dt><dd>" + value + "</dd>" +
         (note.empty() ? "" : "<dd class=note>" + note + "</dd>") + "</div>\n";
}

// Of what is finite; nothing if nothing is.
std::optional<double> median(const std::vector<StepMetrics>& steps, double StepMetrics::*member) {
  std::vector<double> values;
  for (const auto& metrics : steps) {
    if (std::isfinite(metrics.*member)) values.push_back(metrics.*member);
  }
  if (values.empty()) return std::nullopt;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string counted(std::int64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string tiles(const MetricsHistory& history) {
  const StepMetrics& last = history.steps.back();
  std::string html =
      tile("Training loss", readable_number(last.loss, 4), "at step " + std::to_string(last.step));
  const ValidationMetrics* best = nullptr;
  for (const auto& validation : history.validations) {
    if (std::isfinite(validation.found.loss) && (best == nullptr || validation.found.loss < best->found.loss))
      best = &validation;
  }
  if (best != nullptr) {
    html += tile("Validation loss", readable_number(best->found.loss, 4),
                 "perplexity " + readable_number(std::exp(best->found.loss), 3) + ", best at step " +
                     std::to_string(best->step));
  }
  const auto scored =
      std::find_if(history.validations.rbegin(), history.validations.rend(),
                   [](const ValidationMetrics& validation) { return validation.found.bleu.has_value(); });
  if (scored != history.validations.rend()) {
    html += tile("BLEU", readable_number(*scored->found.bleu, 3),
                 "of validation, at step " + std::to_string(scored->step));
  }
  html += tile("Tokens", readable_count(static_cast<double>(last.tokens)), "trained on");
  if (const auto rate = median(history.steps, &StepMetrics::tokens_per_second)) {
    html += tile("Throughput", readable_count(*rate), "tokens per second, median");
  }
  if (const auto share = median(history.steps, &StepMetrics::share_of_peak)) {
    html += tile("Share of peak", readable_share(*share), "of the machine's measured speed");
  }
  html += tile("Time", readable_duration(history.elapsed_s()), "of training");

  const auto interruptions = static_cast<std::int64_t>(history.attempts.size()) - 1;
  std::int64_t repeated = 0;
  for (const auto& attempt : history.attempts) repeated += attempt.repeated_steps;
  if (interruptions > 0) {
    html += tile("Interruptions", std::to_string(interruptions),
                 repeated > 0 ? counted(repeated, "step") + " done again" : "no step lost");
  }
  if (last.skipped_steps > 0) html += tile("Skipped steps", std::to_string(last.skipped_steps), "not finite");
  return "<dl class=tiles>\n" + html + "</dl>\n";
}

ChartSeries series_of(const std::vector<StepMetrics>& steps, double StepMetrics::*member,
                      const std::string& name, bool smoothed) {
  ChartSeries series{.name = name, .colour = "first", .smoothed = smoothed, .x = {}, .y = {}};
  for (const auto& metrics : steps) {
    series.x.push_back(static_cast<double>(metrics.step));
    series.y.push_back(metrics.*member);
  }
  return series;
}

std::string charts(const MetricsHistory& history) {
  ChartSeries validation{.name = "validation", .colour = "second", .dotted = true, .x = {}, .y = {}};
  ChartSeries score{.name = "BLEU", .colour = "second", .dotted = true, .x = {}, .y = {}};
  for (const auto& point : history.validations) {
    validation.x.push_back(static_cast<double>(point.step));
    validation.y.push_back(point.found.loss);
    if (!point.found.bleu) continue;
    score.x.push_back(static_cast<double>(point.step));
    score.y.push_back(*point.found.bleu);
  }
  const bool scored = !score.x.empty();
  std::vector<double> resumes;
  for (std::size_t i = 1; i < history.attempts.size(); ++i) {
    resumes.push_back(static_cast<double>(history.attempts[i].start_step));
  }
  const auto& steps = history.steps;
  const Chart loss{.title = "Loss, nats per token",
                   .width = scored ? 764 : 1120,
                   .height = 340,
                   .offers_log = true,
                   .series = {series_of(steps, &StepMetrics::loss, "training", true), validation},
                   .marks = resumes};
  const Chart bleu{
      .title = "BLEU of validation", .height = 340, .from_zero = true, .series = {score}, .marks = resumes};
  const Chart rate{.title = "Learning rate",
                   .from_zero = true,
                   .series = {series_of(steps, &StepMetrics::learning_rate, "learning rate", false)},
                   .marks = resumes};
  const Chart norm{.title = "Gradient norm",
                   .from_zero = true,
                   .offers_log = true,
                   .series = {series_of(steps, &StepMetrics::grad_norm, "gradient norm", false)},
                   .marks = resumes};
  const Chart speed{.title = "Tokens per second",
                    .from_zero = true,
                    .series = {series_of(steps, &StepMetrics::tokens_per_second, "tokens per second", true)},
                    .marks = resumes};
  return (scored ? "<div class=\"charts scored\">\n" : "<div class=charts>\n") + chart_html(loss, "loss") +
         (scored ? chart_html(bleu, "bleu") : "") + chart_html(rate, "rate") + chart_html(norm, "norm") +
         chart_html(speed, "speed") + "</div>\n";
}

// A table of each kind of attention, as the last validation that measured found it; under the pointer what
// the first one found.  Empty if none measured.
std::string entropies(const MetricsHistory& history) {
  const ValidationMetrics* first = nullptr;
  const ValidationMetrics* last = nullptr;
  for (const auto& validation : history.validations) {
    if (validation.found.attention_entropies.empty()) continue;
    if (first == nullptr) first = &validation;
    last = &validation;
  }
  if (last == nullptr) return "";
  std::string html;
  for (std::size_t kind = 0; kind < kNumAttentionKinds; ++kind) {
    const auto& layers = last->found.attention_entropies.layers[kind];
    const auto& before = first->found.attention_entropies.layers[kind];
    if (layers.empty()) continue;
    double highest = 1e-9;
    for (const auto& heads : layers) {
      for (const double entropy : heads) highest = std::max(highest, entropy);
    }
    html += "<section><h3>" + std::string(kAttentionKindNames[kind]) + "</h3><table>\n";
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
      html += "<tr><td>layer " + std::to_string(layer) + "</td>";
      for (std::size_t head = 0; head < layers[layer].size(); ++head) {
        const bool known = layer < before.size() && head < before[layer].size();
        html += "<td style=\"--share:" + readable_number(layers[layer][head] / highest, 3) +
                "\" title=\"head " + std::to_string(head) +
                (known ? "; " + readable_number(before[layer][head], 3) + " at step " +
                             std::to_string(first->step)
                       : "") +
                "\">" + readable_number(layers[layer][head], 3) + "</td>";
      }
      html += "</tr>\n";
    }
    html += "</table></section>\n";
  }
  return "<details class=config open><summary>Entropy of attention<span>nats, by layer and head, at step " +
         std::to_string(last->step) + "</span></summary><div class=entropies>\n" + html +
         "</div></details>\n";
}

struct ConfigLine {
  std::string section, key, value;
};

// Of text that to_toml() wrote.
std::vector<ConfigLine> config_lines(const std::string& toml) {
  std::vector<ConfigLine> lines;
  std::istringstream text(toml);
  std::string line, section;
  while (std::getline(text, line)) {
    const std::size_t equals = line.find(" = ");
    if (line.size() > 2 && line.front() == '[') {
      section = line.substr(1, line.size() - 2);
    } else if (equals != std::string::npos) {
      lines.push_back({section, line.substr(0, equals), line.substr(equals + 3)});
    }
  }
  return lines;
}

// Empty if the run has no config.
std::string config_table(const fs::path& file) {
  if (!fs::exists(file)) return "";
  std::map<std::string, std::string> defaults;
  for (const auto& line : config_lines(to_toml(Config{})))
    defaults[line.section + "." + line.key] = line.value;

  std::string html, section;
  for (const auto& line : config_lines(read_whole_file(file))) {
    if (line.section != section) {
      if (!section.empty()) html += "</table></section>\n";
      section = line.section;
      html += "<section><h3>" + html_escaped(section) + "</h3><table>\n";
    }
    const bool set = defaults[line.section + "." + line.key] != line.value;
    html += std::string(set ? "<tr class=set>" : "<tr>") + "<td>" + html_escaped(line.key) + "</td><td>" +
            html_escaped(line.value) + "</td></tr>\n";
  }
  if (section.empty()) return "";
  return "<details class=config open><summary>Config<span>what differs from the defaults is "
         "bold</span></summary>"
         "<div class=sections>\n" +
         html + "</table></section>\n</div></details>\n";
}

std::string date_of(double seconds_since_1970) {
  const auto time = static_cast<std::time_t>(seconds_since_1970);
  std::tm parts{};
  std::array<char, 64> text{};
  if (::gmtime_r(&time, &parts) == nullptr) return "";
  std::strftime(text.data(), text.size(), "%-d %B %Y, %H:%M UTC", &parts);
  return text.data();
}

std::string page(const std::string& name, const MetricsHistory& history, const std::string& config) {
  const StepMetrics& last = history.steps.back();
  const bool done = last.step >= last.steps;
  const std::string state = done ? "All " + counted(last.steps, "step") + " done"
                                 : "Step " + std::to_string(last.step) + " of " + std::to_string(last.steps);
  return "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
         "<meta name=viewport content=\"width=device-width, initial-scale=1\">\n<title>" +
         html_escaped(name) + " – Trireme</title>\n<style>" + kReportStyle +
         "</style>\n</head>\n<body>\n<header><h1>" + html_escaped(name) + "</h1><p>" + state + " · " +
         date_of(history.last_time) + "</p></header>\n" + tiles(history) + charts(history) +
         entropies(history) + config + "<footer>Written by trireme report.</footer>\n<script>" +
         kReportScript + "</script>\n</body>\n</html>\n";
}

}  // namespace

std::string write_report(const fs::path& run_directory) {
  const fs::path metrics = run_directory / "metrics.jsonl";
  if (!fs::is_directory(run_directory)) {
    throw UserError(run_directory.string(), "there is no such folder", "give the run.directory of a run");
  }
  if (!fs::exists(metrics)) {
    throw UserError(run_directory.string(), "holds no metrics.jsonl", "give the run.directory of a run");
  }
  const MetricsHistory history = read_metrics(metrics);
  if (history.steps.empty()) {
    throw UserError(metrics.string(), "no training step is logged yet", "wait for the first one");
  }
  // "." and "runs/x/" have a name too.
  const fs::path absolute = fs::weakly_canonical(run_directory);
  const std::string html =
      page(absolute.filename().string(), history, config_table(run_directory / "config.toml"));
  const fs::path path = run_directory / "report.html";
  write_durably(path, html, IfExists::kReplace);
  return path.string();
}

}  // namespace trireme
