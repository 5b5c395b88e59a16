#include "trainer/probes/probe_results.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <set>

#include "data/json.h"
#include "trainer/readable.h"

namespace trireme {
namespace {

ProbeResult parse_result(const std::string& line, const std::string& where) {
  const Json json = parse_json(line, where);
  ProbeResult result{.task = json_value<std::string>(json, "task", where),
                     .model = json_value<std::string>(json, "model", where),
                     .steps = json_value<std::int64_t>(json, "steps", where),
                     .seed = json_value<std::int64_t>(json, "seed", where),
                     .parameters = json_value<std::int64_t>(json, "parameters", where),
                     .seconds = json_value<double>(json, "seconds", where)};
  for (const Json& score : json_value<Json>(json, "scores", where)) {
    result.scores.push_back({.length = json_value<std::int64_t>(score, "length", where),
                             .questions = json_value<std::int64_t>(score, "questions", where),
                             .exact = json_value<std::int64_t>(score, "exact", where)});
  }
  return result;
}

std::string percent(const ProbeScore& score, std::int64_t most_questions) {
  if (score.questions == 0) return "";
  char text[32];
  std::snprintf(text, sizeof text, "%.1f",
                100.0 * static_cast<double>(score.exact) / static_cast<double>(score.questions));
  std::string cell = text;
  if (score.questions < most_questions) cell += " (of " + std::to_string(score.questions) + ")";
  return cell;
}

}  // namespace

std::string probe_line(const ProbeResult& result) {
  Json scores = Json::array();
  for (const ProbeScore& score : result.scores) {
    scores.push_back({{"length", score.length}, {"questions", score.questions}, {"exact", score.exact}});
  }
  const Json json = {{"task", result.task}, {"model", result.model},           {"steps", result.steps},
                     {"seed", result.seed}, {"parameters", result.parameters}, {"seconds", result.seconds},
                     {"scores", scores}};
  return json.dump() + "\n";
}

std::vector<ProbeResult> read_probe_results(const std::filesystem::path& path) {
  std::vector<ProbeResult> results;
  std::ifstream file(path);
  std::int64_t number = 0;
  for (std::string line; std::getline(file, line);) {
    results.push_back(parse_result(line, path.string() + ":" + std::to_string(++number)));
  }
  return results;
}

std::string probe_table(const std::vector<ProbeResult>& results) {
  std::set<std::int64_t> lengths;
  std::int64_t most_questions = 0;
  for (const ProbeResult& result : results) {
    for (const ProbeScore& score : result.scores) {
      lengths.insert(score.length);
      most_questions = std::max(most_questions, score.questions);
    }
  }
  std::string table = "| task | model |";
  std::string line = "|---|---|";
  for (const std::int64_t length : lengths) {
    table += " exact at " + std::to_string(length) + " |";
    line += "--:|";
  }
  table += " steps | parameters | training |\n" + line + "--:|--:|--:|\n";
  for (const ProbeResult& result : results) {
    table += "| " + result.task + " | " + result.model + " |";
    for (const std::int64_t length : lengths) {
      const auto score = std::find_if(result.scores.begin(), result.scores.end(),
                                      [&](const ProbeScore& s) { return s.length == length; });
      table += " " + (score == result.scores.end() ? "" : percent(*score, most_questions)) + " |";
    }
    table += " " + std::to_string(result.steps) + " | " +
             readable_count(static_cast<double>(result.parameters)) + " | " +
             readable_duration(result.seconds) + " |\n";
  }
  return table;
}

}  // namespace trireme
